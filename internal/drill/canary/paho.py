# A canary with Eclipse Paho: says "connected" and "subscribed", prints each payload in hex; or publishes each line
# that it reads, and says "acked N" of the Nth: its packet ids count from 1.
import signal, sys
from urllib.parse import urlparse
import paho.mqtt.client as mqtt

role, url, client_id, topic, qos, keepalive, username, password, ca, cert, key = sys.argv[1:12]
at = urlparse(url)
say = lambda text: print(text, flush=True)
args = {"client_id": client_id, "clean_session": False}
if hasattr(mqtt, "CallbackAPIVersion"):
    args["callback_api_version"] = mqtt.CallbackAPIVersion.VERSION2
c = mqtt.Client(**args)
if username:
    c.username_pw_set(username, password)
if at.scheme == "mqtts":
    c.tls_set(ca or None, cert or None, key or None)
def connected(c, *a):
    say("connected")
    if role == "sub":
        c.subscribe(topic, int(qos))
c.on_connect = connected
c.on_subscribe = lambda c, *a: say("subscribed")
c.on_message = lambda c, u, m: say(m.payload.hex())
c.on_publish = lambda c, u, mid, *a: say("acked %d" % mid)
c.reconnect_delay_set(1, 2)
signal.signal(signal.SIGTERM, lambda *a: (c.disconnect(), sys.exit(0)))
c.connect(at.hostname, at.port, int(keepalive))
if role == "sub":
    c.loop_forever(retry_first_connection=True)
c.loop_start()
for line in sys.stdin:
    c.publish(topic, line.rstrip("\n"), int(qos))
c.disconnect()
c.loop_stop()
