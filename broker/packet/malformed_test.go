package packet

import "testing"

// malformed lists one packet per way to be wrong: the first byte, the body, the code and words of the reason.
var malformed = []struct {
	name  string
	v     Version
	first byte
	body  string
	code  Code
	words string
}{
	// CONNECT
	{"empty", V5, 0x10, "", MalformedPacket, "CONNECT protocol name"},
	{"name cut", V5, 0x10, "0004 'MQT'", MalformedPacket, "protocol name"},
	{"name length only", V5, 0x10, "00", MalformedPacket, "protocol name"},
	{"name unknown", V5, 0x10, "s'HTTP' 05 02 003C 00 s'a'", UnsupportedProtocolVersion, "MQTT-3.1.2-1"},
	{"name in small letters", V5, 0x10, "s'mqtt' 05 02 003C 00 s'a'", UnsupportedProtocolVersion, "MQTT-3.1.2-1"},
	{"name empty", V5, 0x10, "s'' 05 02 003C 00 s'a'", UnsupportedProtocolVersion, "MQTT-3.1.2-1"},
	{"level missing", V5, 0x10, "s'MQTT'", MalformedPacket, "protocol version"},
	{"level 0", V311, 0x10, "s'MQTT' 00 02 003C s'a'", UnsupportedProtocolVersion, "is 0"},
	{"level 3 with MQTT", V311, 0x10, "s'MQTT' 03 02 003C s'a'", UnsupportedProtocolVersion, "is 3"},
	{"level 6", V5, 0x10, "s'MQTT' 06 02 003C 00 s'a'", UnsupportedProtocolVersion, "is 6"},
	{"level 4 with MQIsdp", V311, 0x10, "s'MQIsdp' 04 02 003C s'a'", UnsupportedProtocolVersion, "MQIsdp has 3 only"},
	{"bridge level", V311, 0x10, "s'MQTT' 84 02 003C s'a'", UnsupportedProtocolVersion, "is 132"},
	{"flags missing", V5, 0x10, "s'MQTT' 05", MalformedPacket, "CONNECT flags"},
	{"reserved flag", V5, 0x10, "s'MQTT' 05 03 003C 00 s'a'", MalformedPacket, "MQTT-3.1.2-3"},
	{"reserved flag 3.1.1", V311, 0x10, "s'MQTT' 04 03 003C s'a'", MalformedPacket, "MQTT-3.1.2-3"},
	{"will QoS without will", V5, 0x10, "s'MQTT' 05 0A 003C 00 s'a'", MalformedPacket, "MQTT-3.1.2-11"},
	{"will QoS 3", V5, 0x10, "s'MQTT' 05 1E 003C 00 s'a' 00 s'w' s'x'", MalformedPacket, "MQTT-3.1.2-12"},
	{"will retain without will", V5, 0x10, "s'MQTT' 05 22 003C 00 s'a'", MalformedPacket, "MQTT-3.1.2-13"},
	{"password without user 3.1.1", V311, 0x10, "s'MQTT' 04 42 003C s'a' s'pw'", MalformedPacket, "MQTT-3.1.2-22 of 3.1.1"},
	{"password without user 3.1", V31, 0x10, "s'MQIsdp' 03 42 003C s'a' s'pw'", MalformedPacket, "MQTT-3.1.2-22 of 3.1.1"},
	{"keep alive cut", V5, 0x10, "s'MQTT' 05 02 00", MalformedPacket, "keep alive"},
	{"property length missing", V5, 0x10, "s'MQTT' 05 02 003C", MalformedPacket, "property length"},
	{"property length overlong", V5, 0x10, "s'MQTT' 05 02 003C 8000 s'a'", MalformedPacket, "MQTT-1.5.5-1"},
	{"property length five bytes", V5, 0x10, "s'MQTT' 05 02 003C FFFFFFFF7F s'a'", MalformedPacket, "four bytes"},
	{"property length unfinished", V5, 0x10, "s'MQTT' 05 02 003C FF", MalformedPacket, "before its last byte"},
	{"property length beyond the packet", V5, 0x10, "s'MQTT' 05 02 003C 0A 11 00000001", MalformedPacket, "property length needs 10"},
	{"value beyond the property length", V5, 0x10, "s'MQTT' 05 02 003C 03 11 00000001 s'a'", MalformedPacket, "session expiry"},
	{"receive maximum 0", V5, 0x10, "s'MQTT' 05 02 003C 03 21 0000 s'a'", ProtocolError, "receive maximum"},
	{"receive maximum cut", V5, 0x10, "s'MQTT' 05 02 003C 02 21 00 s'a'", MalformedPacket, "receive maximum"},
	{"maximum packet size 0", V5, 0x10, "s'MQTT' 05 02 003C 05 27 00000000 s'a'", ProtocolError, "maximum packet size"},
	{"request problem 2", V5, 0x10, "s'MQTT' 05 02 003C 02 17 02 s'a'", ProtocolError, "request problem"},
	{"request response 2", V5, 0x10, "s'MQTT' 05 02 003C 02 19 02 s'a'", ProtocolError, "request response"},
	{"data without method", V5, 0x10, "s'MQTT' 05 02 003C 04 16 s'x' s'a'", ProtocolError, "without an authentication method"},
	{"empty method", V5, 0x10, "s'MQTT' 05 02 003C 03 15 s'' s'a'", BadAuthenticationMethod, "MQTT-4.12.0-1"},
	{"method not UTF-8", V5, 0x10, "s'MQTT' 05 02 003C 04 15 0001 FF s'a'", MalformedPacket, "MQTT-1.5.4-1"},
	{"user property without value", V5, 0x10, "s'MQTT' 05 02 003C 04 26 s'k' s'a'", MalformedPacket, "user property value"},
	{"user property name not UTF-8", V5, 0x10, "s'MQTT' 05 02 003C 07 26 0001 FF s'v' s'a'", MalformedPacket, "user property name"},
	{"will delay in CONNECT", V5, 0x10, "s'MQTT' 05 02 003C 05 18 00000001 s'a'", MalformedPacket, "does not belong"},
	{"client id missing", V311, 0x10, "s'MQTT' 04 02 003C", MalformedPacket, "client identifier"},
	{"client id cut", V311, 0x10, "s'MQTT' 04 02 003C 0005 'abc'", MalformedPacket, "client identifier"},
	{"client id with NUL", V311, 0x10, "s'MQTT' 04 02 003C 0003 61 00 62", MalformedPacket, "MQTT-1.5.4-2"},
	{"client id surrogate D800", V311, 0x10, "s'MQTT' 04 02 003C 0003 EDA080", MalformedPacket, "MQTT-1.5.4-1"},
	{"client id surrogate DFFF", V311, 0x10, "s'MQTT' 04 02 003C 0003 EDBFBF", MalformedPacket, "MQTT-1.5.4-1"},
	{"client id surrogate pair", V5, 0x10, "s'MQTT' 05 02 003C 00 0006 EDA080EDB080", MalformedPacket, "MQTT-1.5.4-1"},
	{"client id overlong UTF-8", V311, 0x10, "s'MQTT' 04 02 003C 0002 C080", MalformedPacket, "MQTT-1.5.4-1"},
	{"client id above U+10FFFF", V311, 0x10, "s'MQTT' 04 02 003C 0004 F4908080", MalformedPacket, "MQTT-1.5.4-1"},
	{"client id half a rune", V311, 0x10, "s'MQTT' 04 02 003C 0002 61 C3", MalformedPacket, "MQTT-1.5.4-1"},
	{"client id empty, session kept", V311, 0x10, "s'MQTT' 04 00 003C s''", ClientIdentifierNotValid, "MQTT-3.1.3-8"},
	{"client id empty in 3.1", V31, 0x10, "s'MQIsdp' 03 02 003C s''", ClientIdentifierNotValid, "MQTT 3.1"},
	{"will properties missing", V5, 0x10, "s'MQTT' 05 06 003C 00 s'a'", MalformedPacket, "property length"},
	{"will delay cut", V5, 0x10, "s'MQTT' 05 06 003C 00 s'a' 03 18 0000 s'w' s'x'", MalformedPacket, "will delay"},
	{"topic alias in a will", V5, 0x10, "s'MQTT' 05 06 003C 00 s'a' 03 23 0001 s'w' s'x'", MalformedPacket, "does not belong"},
	{"session expiry in a will", V5, 0x10, "s'MQTT' 05 06 003C 00 s'a' 05 11 00000001 s'w' s'x'", MalformedPacket, "does not belong"},
	{"will payload format 2", V5, 0x10, "s'MQTT' 05 06 003C 00 s'a' 02 01 02 s'w' s'x'", ProtocolError, "payload format"},
	{"will response topic with wildcard", V5, 0x10, "s'MQTT' 05 06 003C 00 s'a' 06 08 s'r/#' s'w' s'x'", TopicNameInvalid, "response topic"},
	{"will topic missing", V311, 0x10, "s'MQTT' 04 06 003C s'a'", MalformedPacket, "will topic"},
	{"will topic empty", V311, 0x10, "s'MQTT' 04 06 003C s'a' s'' s'x'", TopicNameInvalid, "MQTT-4.7.3-1"},
	{"will topic with +", V311, 0x10, "s'MQTT' 04 06 003C s'a' s'a/+' s'x'", TopicNameInvalid, "will topic"},
	{"will topic with #", V5, 0x10, "s'MQTT' 05 06 003C 00 s'a' 00 s'#' s'x'", TopicNameInvalid, "will topic"},
	{"will topic not UTF-8", V311, 0x10, "s'MQTT' 04 06 003C s'a' 0001 FF s'x'", MalformedPacket, "will topic"},
	{"will payload missing", V311, 0x10, "s'MQTT' 04 06 003C s'a' s'w'", MalformedPacket, "will payload"},
	{"will payload cut", V311, 0x10, "s'MQTT' 04 06 003C s'a' s'w' 0005 'x'", MalformedPacket, "will payload"},
	{"user name missing", V311, 0x10, "s'MQTT' 04 82 003C s'a'", MalformedPacket, "user name"},
	{"user name not UTF-8", V5, 0x10, "s'MQTT' 05 82 003C 00 s'a' 0001 FF", MalformedPacket, "user name"},
	{"user name with NUL", V5, 0x10, "s'MQTT' 05 82 003C 00 s'a' 0001 00", MalformedPacket, "user name"},
	{"password missing", V311, 0x10, "s'MQTT' 04 C2 003C s'a' s'u'", MalformedPacket, "password"},
	{"password cut", V311, 0x10, "s'MQTT' 04 C2 003C s'a' s'u' 0004 'pw'", MalformedPacket, "password"},
	{"password cut in 3.1", V31, 0x10, "s'MQIsdp' 03 C2 003C s'a' s'u' 0004 'pw'", MalformedPacket, "password"},
	{"bytes behind the client id", V311, 0x10, "s'MQTT' 04 02 003C s'a' s'u'", MalformedPacket, "behind its last field"},
	{"bytes behind the password", V5, 0x10, "s'MQTT' 05 C2 003C 00 s'a' s'u' s'p' 00", MalformedPacket, "behind its last field"},

	// PUBLISH
	{"publish empty", V5, 0x30, "", MalformedPacket, "topic name"},
	{"topic cut", V311, 0x30, "0005 'abc'", MalformedPacket, "topic name"},
	{"topic not UTF-8", V311, 0x30, "0002 61 FF", MalformedPacket, "MQTT-1.5.4-1"},
	{"topic surrogate", V311, 0x30, "0003 EDA080", MalformedPacket, "MQTT-1.5.4-1"},
	{"topic with NUL", V311, 0x30, "0003 61 00 62", MalformedPacket, "MQTT-1.5.4-2"},
	{"topic empty 3.1.1", V311, 0x30, "s'' 'x'", ProtocolError, "topic name"},
	{"topic empty without alias", V5, 0x30, "s'' 00 'x'", ProtocolError, "no topic alias"},
	{"topic with #", V311, 0x30, "s'a/#' 'x'", TopicNameInvalid, "MQTT-3.3.2-2"},
	{"topic with +", V5, 0x30, "s'a/+/b' 00 'x'", TopicNameInvalid, "MQTT-3.3.2-2"},
	{"wildcard inside a level", V5, 0x30, "s'a+b' 00 'x'", TopicNameInvalid, "MQTT-3.3.2-2"},
	{"packet id missing", V311, 0x32, "s'a'", MalformedPacket, "packet identifier"},
	{"packet id cut", V311, 0x32, "s'a' 00", MalformedPacket, "packet identifier"},
	{"packet id 0 at QoS 1", V311, 0x32, "s'a' 0000", ProtocolError, "MQTT-2.2.1-3"},
	{"packet id 0 at QoS 2", V5, 0x34, "s'a' 0000 00", ProtocolError, "MQTT-2.2.1-3"},
	{"publish property length missing", V5, 0x30, "s'a'", MalformedPacket, "property length"},
	{"publish property length into nothing", V5, 0x30, "s'a' 05 01 00", MalformedPacket, "property length"},
	{"payload format 2", V5, 0x30, "s'a' 02 01 02", ProtocolError, "payload format"},
	{"expiry reaches into the payload", V5, 0x30, "s'a' 03 02 0000 000A", MalformedPacket, "message expiry"},
	{"content type reaches into the payload", V5, 0x30, "s'a' 04 03 0005 'x' 'yyyy'", MalformedPacket, "content type"},
	{"content type not UTF-8", V5, 0x30, "s'a' 04 03 0001 FF", MalformedPacket, "content type"},
	{"response topic empty", V5, 0x30, "s'a' 03 08 s''", TopicNameInvalid, "response topic"},
	{"response topic with wildcard", V5, 0x30, "s'a' 04 08 s'+'", TopicNameInvalid, "response topic"},
	{"response topic not UTF-8", V5, 0x30, "s'a' 04 08 0001 80", MalformedPacket, "response topic"},
	{"correlation data cut", V5, 0x30, "s'a' 04 09 0005 'x' 'payload'", MalformedPacket, "correlation data"},
	{"topic alias 0", V5, 0x30, "s'a' 03 23 0000", TopicAliasInvalid, "MQTT-3.3.2-8"},
	{"topic alias 0 and no topic", V5, 0x30, "s'' 03 23 0000", TopicAliasInvalid, "MQTT-3.3.2-8"},
	{"topic alias cut", V5, 0x30, "s'a' 02 23 00", MalformedPacket, "topic alias"},
	{"subscription id from a client", V5, 0x30, "s'a' 02 0B 01", ProtocolError, "MQTT-3.3.4-6"},
	{"user property cut", V5, 0x30, "s'a' 05 26 s'k' 00 'v'", MalformedPacket, "user property value"},
	{"user property value with NUL", V5, 0x30, "s'a' 07 26 s'k' 0001 00", MalformedPacket, "user property value"},
	{"unknown property", V5, 0x30, "s'a' 02 7E 00", MalformedPacket, "0x7E does not exist"},
	{"property identifier of two bytes", V5, 0x30, "s'a' 03 8101 00", MalformedPacket, "0x81 does not exist"},
	{"property 0", V5, 0x30, "s'a' 01 00", MalformedPacket, "0x00 does not exist"},

	// PUBACK, PUBREC, PUBREL, PUBCOMP
	{"puback empty", V311, 0x40, "", MalformedPacket, "PUBACK packet identifier"},
	{"pubrec of one byte", V311, 0x50, "00", MalformedPacket, "PUBREC packet identifier"},
	{"pubrel id 0", V311, 0x62, "0000", ProtocolError, "PUBREL packet identifier"},
	{"pubcomp id 0", V5, 0x70, "0000", ProtocolError, "PUBCOMP packet identifier"},
	{"puback with a code in 3.1.1", V311, 0x40, "0001 00", MalformedPacket, "behind its last field"},
	{"pubrel with a code in 3.1", V31, 0x62, "0001 00", MalformedPacket, "behind its last field"},
	{"puback with PUBREL's code", V5, 0x40, "0001 92", ProtocolError, "0x92"},
	{"puback with a code of none", V5, 0x40, "0001 42", ProtocolError, "0x42"},
	{"pubrec with a granted QoS", V5, 0x50, "0001 01", ProtocolError, "0x01"},
	{"pubrel with a refusal", V5, 0x62, "0001 80", ProtocolError, "0x80"},
	{"pubcomp no matching subscribers", V5, 0x70, "0001 10", ProtocolError, "0x10"},
	{"puback property length into nothing", V5, 0x40, "0001 00 05", MalformedPacket, "property length"},
	{"puback reason string cut", V5, 0x40, "0001 00 04 1F 0003 'a'", MalformedPacket, "reason string"},
	{"puback bytes behind", V5, 0x40, "0001 00 00 00", MalformedPacket, "behind its last field"},
	{"pubrec content type", V5, 0x50, "0001 00 04 03 s'a'", MalformedPacket, "does not belong"},
	{"pubcomp reason string twice", V5, 0x70, "0001 00 08 1F s'a' 1F s'b'", ProtocolError, "more than once"},

	// SUBSCRIBE
	{"subscribe empty", V5, 0x82, "", MalformedPacket, "SUBSCRIBE packet identifier"},
	{"subscribe id 0", V311, 0x82, "0000 s'a' 00", ProtocolError, "packet identifier"},
	{"subscribe without properties", V5, 0x82, "0001", MalformedPacket, "property length"},
	{"subscribe without filter", V5, 0x82, "0001 00", ProtocolError, "MQTT-3.8.3-2"},
	{"subscribe without filter 3.1.1", V311, 0x82, "0001", ProtocolError, "MQTT-3.8.3-2"},
	{"filter cut", V5, 0x82, "0001 00 0004 'ab'", MalformedPacket, "topic filter"},
	{"options missing", V5, 0x82, "0001 00 s'a'", MalformedPacket, "subscription options"},
	{"options missing behind the second filter", V5, 0x82, "0001 00 s'a' 00 s'b'", MalformedPacket, "subscription options"},
	{"options missing 3.1.1", V311, 0x82, "0001 s'a'", MalformedPacket, "subscription options"},
	{"QoS 3", V5, 0x82, "0001 00 s'a' 03", ProtocolError, "QoS 3"},
	{"QoS 3 in 3.1.1", V311, 0x82, "0001 s'a' 03", ProtocolError, "QoS 3"},
	{"reserved option bit 6", V5, 0x82, "0001 00 s'a' 40", MalformedPacket, "MQTT-3.8.3-5"},
	{"reserved option bit 7", V5, 0x82, "0001 00 s'a' 80", MalformedPacket, "MQTT-3.8.3-5"},
	{"no local in 3.1.1", V311, 0x82, "0001 s'a' 04", MalformedPacket, "reserved bits"},
	{"retain handling 3", V5, 0x82, "0001 00 s'a' 30", ProtocolError, "retain handling 3"},
	{"no local on a shared subscription", V5, 0x82, "0001 00 s'$share/g/a' 05", ProtocolError, "MQTT-3.8.3-4"},
	{"subscription id 0", V5, 0x82, "0001 02 0B 00 s'a' 00", ProtocolError, "subscription identifier"},
	{"subscription id of five bytes", V5, 0x82, "0001 06 0B FFFFFFFF7F s'a' 00", MalformedPacket, "subscription identifier"},
	{"subscription id overlong", V5, 0x82, "0001 03 0B 8100 s'a' 00", MalformedPacket, "MQTT-1.5.5-1"},
	{"subscription id unfinished", V5, 0x82, "0001 02 0B 80 s'a' 00", MalformedPacket, "subscription identifier"},
	{"filter empty", V5, 0x82, "0001 00 s'' 00", TopicFilterInvalid, "MQTT-4.7.3-1"},
	{"filter not UTF-8", V5, 0x82, "0001 00 0001 FF 00", MalformedPacket, "topic filter"},
	{"filter with NUL", V5, 0x82, "0001 00 0001 00 00", MalformedPacket, "MQTT-1.5.4-2"},
	{"filter # not last", V5, 0x82, "0001 00 s'a/#/b' 00", TopicFilterInvalid, "MQTT-4.7.1-1"},
	{"filter # in a level", V5, 0x82, "0001 00 s'a#' 00", TopicFilterInvalid, "MQTT-4.7.1-1"},
	{"filter ##", V311, 0x82, "0001 s'##' 00", TopicFilterInvalid, "MQTT-4.7.1-1"},
	{"filter + behind a letter", V5, 0x82, "0001 00 s'a+' 00", TopicFilterInvalid, "MQTT-4.7.1-2"},
	{"filter + before a letter", V5, 0x82, "0001 00 s'a/+b/c' 00", TopicFilterInvalid, "MQTT-4.7.1-2"},
	{"second filter invalid", V5, 0x82, "0001 00 s'a' 00 s'+#' 00", TopicFilterInvalid, "topic filter"},
	{"share name empty", V5, 0x82, "0001 00 s'$share//a' 00", TopicFilterInvalid, "MQTT-4.8.2-1"},
	{"share name missing", V5, 0x82, "0001 00 s'$share/' 00", TopicFilterInvalid, "MQTT-4.8.2-1"},
	{"share name with +", V5, 0x82, "0001 00 s'$share/+/a' 00", TopicFilterInvalid, "MQTT-4.8.2-2"},
	{"share name with #", V5, 0x82, "0001 00 s'$share/g#/a' 00", TopicFilterInvalid, "MQTT-4.8.2-2"},
	{"share without filter", V5, 0x82, "0001 00 s'$share/g' 00", TopicFilterInvalid, "MQTT-4.8.2-2"},
	{"share with an empty filter", V311, 0x82, "0001 s'$share/g/' 00", TopicFilterInvalid, "MQTT-4.8.2-2"},
	{"share with an invalid filter", V5, 0x82, "0001 00 s'$share/g/a#' 00", TopicFilterInvalid, "MQTT-4.7.1-1"},

	// UNSUBSCRIBE
	{"unsubscribe empty", V311, 0xA2, "", MalformedPacket, "UNSUBSCRIBE packet identifier"},
	{"unsubscribe id 0", V311, 0xA2, "0000 s'a'", ProtocolError, "packet identifier"},
	{"unsubscribe without filter", V311, 0xA2, "0001", ProtocolError, "MQTT-3.10.3-2"},
	{"unsubscribe without filter 5", V5, 0xA2, "0001 00", ProtocolError, "MQTT-3.10.3-2"},
	{"unsubscribe filter cut", V5, 0xA2, "0001 00 0003 'a'", MalformedPacket, "topic filter"},
	{"unsubscribe filter empty", V5, 0xA2, "0001 00 s''", TopicFilterInvalid, "topic filter"},
	{"unsubscribe filter a#", V311, 0xA2, "0001 s'a#'", TopicFilterInvalid, "topic filter"},
	{"unsubscribe share without filter", V5, 0xA2, "0001 00 s'$share/g'", TopicFilterInvalid, "MQTT-4.8.2-2"},
	{"unsubscribe with subscription id", V5, 0xA2, "0001 02 0B 01 s'a'", MalformedPacket, "does not belong"},
	{"unsubscribe one byte behind", V311, 0xA2, "0001 s'a' 00", MalformedPacket, "topic filter"},

	// DISCONNECT
	{"disconnect with a body in 3.1.1", V311, 0xE0, "00", MalformedPacket, "behind its last field"},
	{"disconnect with a server's code", V5, 0xE0, "8E", ProtocolError, "0x8E"},
	{"disconnect with an unknown code", V5, 0xE0, "05", ProtocolError, "0x05"},
	{"disconnect property length into nothing", V5, 0xE0, "00 05", MalformedPacket, "property length"},
	{"disconnect session expiry cut", V5, 0xE0, "00 03 11 0000", MalformedPacket, "session expiry"},
	{"disconnect with server reference", V5, 0xE0, "00 04 1C s'x'", ProtocolError, "server reference"},
	{"disconnect with an empty server reference", V5, 0xE0, "00 03 1C s''", ProtocolError, "server reference"},
	{"disconnect with receive maximum", V5, 0xE0, "00 03 21 0001", MalformedPacket, "does not belong"},
	{"disconnect bytes behind", V5, 0xE0, "00 00 00", MalformedPacket, "behind its last field"},
	{"disconnect reason string not UTF-8", V5, 0xE0, "00 04 1F 0001 FF", MalformedPacket, "reason string"},

	// AUTH
	{"auth empty from a client", V5, 0xF0, "", ProtocolError, "0x00"},
	{"auth success from a client", V5, 0xF0, "00 04 15 s'x'", ProtocolError, "0x00"},
	{"auth unknown code", V5, 0xF0, "42 04 15 s'x'", ProtocolError, "0x42"},
	{"auth without properties", V5, 0xF0, "18", MalformedPacket, "property length"},
	{"auth without method", V5, 0xF0, "18 00", ProtocolError, "authentication method is missing"},
	{"auth data only", V5, 0xF0, "18 04 16 s'x'", ProtocolError, "authentication method is missing"},
	{"auth empty method", V5, 0xF0, "18 03 15 s''", ProtocolError, "MQTT-4.12.0-1"},
	{"auth bytes behind", V5, 0xF0, "18 04 15 s'x' 00", MalformedPacket, "behind its last field"},
	{"auth with session expiry", V5, 0xF0, "18 09 15 s'x' 11 00000001", MalformedPacket, "does not belong"},

	// PINGREQ
	{"pingreq with a body", V311, 0xC0, "00", MalformedPacket, "PINGREQ remaining length"},
	{"pingresp with a body", V5, 0xD0, "00", MalformedPacket, "PINGRESP remaining length"},
}

func TestMalformed(t *testing.T) {
	if len(malformed) < 150 {
		t.Fatalf("only %d rows", len(malformed))
	}
	for _, row := range malformed {
		t.Run(row.name, func(t *testing.T) {
			raw := frame(row.first, wire(t, row.body))
			_, _, err := decode(raw, row.v, fromClient)
			wantRefusal(t, err, row.code, row.words)
		})
	}
}

// Packets only servers send: a client of ours (a foreign link) holds servers to the rules as strictly.
func TestMalformedFromServer(t *testing.T) {
	for _, row := range []struct {
		name  string
		v     Version
		first byte
		body  string
		code  Code
		words string
	}{
		{"connack empty", V311, 0x20, "", MalformedPacket, "CONNACK flags"},
		{"connack reserved flags", V311, 0x20, "02 00", MalformedPacket, "MQTT-3.2.2-1"},
		{"connack return code 6", V311, 0x20, "00 06", MalformedPacket, "return code"},
		{"connack session present and refused", V311, 0x20, "01 05", ProtocolError, "MQTT-3.2.2-6"},
		{"connack session present and refused 5", V5, 0x20, "01 87 00", ProtocolError, "MQTT-3.2.2-6"},
		{"connack bytes behind", V311, 0x20, "00 00 00", MalformedPacket, "behind its last field"},
		{"connack without properties", V5, 0x20, "00 00", MalformedPacket, "property length"},
		{"connack DISCONNECT's code", V5, 0x20, "00 8B 00", ProtocolError, "0x8B"},
		{"connack receive maximum 0", V5, 0x20, "00 00 03 21 0000", ProtocolError, "receive maximum"},
		{"connack maximum QoS 2", V5, 0x20, "00 00 02 24 02", ProtocolError, "maximum QoS"},
		{"connack retain available 2", V5, 0x20, "00 00 02 25 02", ProtocolError, "retain available"},
		{"connack maximum packet size 0", V5, 0x20, "00 00 05 27 00000000", ProtocolError, "maximum packet size"},
		{"suback without code", V311, 0x90, "0001", ProtocolError, "no reason code"},
		{"suback code 3", V311, 0x90, "0001 03", ProtocolError, "0x03"},
		{"suback 5 code in 3.1.1", V311, 0x90, "0001 87", ProtocolError, "0x87"},
		{"suback unknown code", V5, 0x90, "0001 00 11", ProtocolError, "0x11"},
		{"suback id 0", V5, 0x90, "0000 00 00", ProtocolError, "packet identifier"},
		{"unsuback with codes in 3.1.1", V311, 0xB0, "0001 00", MalformedPacket, "behind its last field"},
		{"unsuback without code", V5, 0xB0, "0001 00", ProtocolError, "no reason code"},
		{"unsuback granted QoS", V5, 0xB0, "0001 00 01", ProtocolError, "0x01"},
		{"publish subscription id 0", V5, 0x30, "s'a' 02 0B 00", ProtocolError, "subscription identifier"},
		{"disconnect with session expiry", V5, 0xE0, "00 05 11 00000001", ProtocolError, "MQTT-3.14.2-2"},
		{"disconnect with a client's code", V5, 0xE0, "04", ProtocolError, "0x04"},
		{"auth re-authenticate", V5, 0xF0, "19 04 15 s'x'", ProtocolError, "0x19"},
	} {
		t.Run(row.name, func(t *testing.T) {
			raw := frame(row.first, wire(t, row.body))
			_, _, err := decode(raw, row.v, fromServer)
			wantRefusal(t, err, row.code, row.words)
		})
	}
}
