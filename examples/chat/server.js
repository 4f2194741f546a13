// A chat room in one process: every text frame goes to everybody who is connected.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const page = await readFile(new URL('page.html', import.meta.url));
const server = createServer((request, response) => {
  if (request.url === '/healthz') return response.end('ok\n');
  response.setHeader('content-type', 'text/html; charset=utf-8');
  return response.end(page);
});

const sockets = new WebSocketServer({ server, maxPayload: 16 * 1024 });
sockets.on('connection', (socket) => {
  socket.on('message', (data, isBinary) => {
    for (const other of sockets.clients) if (other.readyState === other.OPEN) other.send(data, { binary: isBinary });
  });
  socket.on('error', () => socket.terminate());
});

server.listen(Number(process.env.PORT), process.env.HOST, () => console.log('chat is open'));
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  for (const socket of sockets.clients) socket.close(1001, 'the server is leaving');
});
