// A canary with MQTT.js: prints "subscribed", then each payload in hex.
const mqtt = require('mqtt'), fs = require('fs')
const [url, clientId, topic, qos, keepalive, username, password, ca, cert, key] = process.argv.slice(2)
const file = (name) => (name ? fs.readFileSync(name) : undefined)
const c = mqtt.connect(url, { clientId, clean: false, keepalive: +keepalive, username: username || undefined, password: password || undefined,
  ca: file(ca), cert: file(cert), key: file(key), reconnectPeriod: 500 })
c.on('message', (t, payload) => console.log(payload.toString('hex')))
c.on('connect', () => c.subscribe(topic, { qos: +qos }, (err) => console.log(err ? 'refused' : 'subscribed')))
c.on('error', () => process.exit(1)) // it stops for good by itself; whoever runs it starts it again
process.on('SIGTERM', () => c.end(false, {}, () => process.exit(0)))
