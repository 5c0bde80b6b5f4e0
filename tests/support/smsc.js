// An SMSC that does as it is told, over npm's smpp. Events go to stdout, commands come on stdin, one line of JSON each.
const readline = require('readline');
const smpp = require('smpp');

const PASSWORD = 'secret';
const sessions = new Set();
const texts = new Map(); // parts by mobile and reference
let statuses = []; // what the next submits are answered with
let silent = false; // answer nothing
let last = 0;

const tell = (event, fields) => process.stdout.write(JSON.stringify({event, ...fields}) + '\n');

function bind(session, pdu) {
  const known = pdu.password === PASSWORD;
  session.send(pdu.response({command_status: known ? 0 : smpp.ESME_RINVPASWD, system_id: 'smsc'}));
  if (!known) return session.close();
  sessions.add(session);
  tell('bound', {system_id: pdu.system_id, version: pdu.interface_version});
}

function submit(session, pdu) {
  if (silent) return tell('unanswered', {});
  const status = statuses.shift() || 0;
  if (status) {
    session.send(pdu.response({command_status: status}));
    return tell('refused', {status});
  }
  const id = `m${++last}`;
  session.send(pdu.response({message_id: id}));
  const {udh, message} = pdu.short_message;
  const [reference, total, place] = udh ? [...udh[0].slice(2)] : [0, 1, 1];
  tell('part', {id, reference, total, place, receipt: pdu.registered_delivery});
  const key = `${pdu.destination_addr}/${reference}`;
  const parts = texts.get(key) || [];
  parts[place - 1] = message;
  texts.set(key, parts);
  if (parts.filter((part) => part !== undefined).length < total) return;
  texts.delete(key);
  tell('text', {
    id, mobile: pdu.destination_addr, ton: pdu.dest_addr_ton, text: parts.join(''), coding: pdu.data_coding,
    source: pdu.source_addr, source_ton: pdu.source_addr_ton,
  });
}

const server = smpp.createServer((session) => {
  session.on('bind_transceiver', (pdu) => bind(session, pdu));
  session.on('submit_sm', (pdu) => submit(session, pdu));
  session.on('enquire_link', (pdu) => {
    if (!silent) session.send(pdu.response());
    tell('enquire_link', {});
  });
  session.on('unbind', (pdu) => {
    session.send(pdu.response());
    session.close();
    tell('unbound', {});
  });
  session.on('close', () => sessions.delete(session));
  session.on('error', () => sessions.delete(session));
});

const commands = {
  answer: (list) => { statuses = list; },
  silent: (wanted) => { silent = wanted; },
  deliver: (fields) => sessions.forEach((session) => session.deliver_sm(fields, (pdu) => tell('response', {status: pdu.command_status}))),
  ask: (name) => sessions.forEach((session) => session[name]({}, (pdu) => tell('response', {command: pdu.command, status: pdu.command_status}))),
  drop: () => sessions.forEach((session) => session.destroy()),
};

readline.createInterface({input: process.stdin}).on('line', (line) => {
  for (const [name, argument] of Object.entries(JSON.parse(line))) commands[name](argument);
  tell('done', {});
}).on('close', () => process.exit(0));

server.listen(Number(process.argv[2]), '127.0.0.1', () => tell('listening', {port: server.address().port}));
