# A canary with Eclipse Paho: prints "subscribed", then each payload in hex.
import signal, sys
from urllib.parse import urlparse
import paho.mqtt.client as mqtt

url, client_id, topic, qos, keepalive, username, password, ca, cert, key = sys.argv[1:11]
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
c.on_connect = lambda c, *a: c.subscribe(topic, int(qos))
c.on_subscribe = lambda c, *a: say("subscribed")
c.on_message = lambda c, u, m: say(m.payload.hex())
c.reconnect_delay_set(1, 2)
signal.signal(signal.SIGTERM, lambda *a: (c.disconnect(), sys.exit(0)))
c.connect(at.hostname, at.port, int(keepalive))
c.loop_forever(retry_first_connection=True)
