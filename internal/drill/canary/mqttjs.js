// A canary with MQTT.js: says "connected" and "subscribed", prints each payload in hex; or publishes each line that it
// reads, and says "acked N" of the Nth.
const mqtt = require('mqtt'), fs = require('fs')
const [role, url, clientId, topic, qos, keepalive, username, password, ca, cert, key] = process.argv.slice(2)
const file = (name) => (name ? fs.readFileSync(name) : undefined)
const c = mqtt.connect(url, { clientId, clean: false, keepalive: +keepalive, username: username || undefined, password: password || undefined,
  ca: file(ca), cert: file(cert), key: file(key), reconnectPeriod: 500 })
const end = () => c.end(false, {}, () => process.exit(0))
c.on('message', (t, payload) => console.log(payload.toString('hex')))
c.on('connect', () => {
  console.log('connected')
  if (role === 'sub') c.subscribe(topic, { qos: +qos }, (err) => console.log(err ? 'refused' : 'subscribed'))
})
c.on('error', () => process.exit(1)) // it stops for good by itself; whoever runs it starts it again
process.on('SIGTERM', end)
if (role === 'pub') {
  let given = 0
  require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
    const n = ++given
    c.publish(topic, line, { qos: +qos }, (err) => err || console.log('acked ' + n))
  }).on('close', end)
}
