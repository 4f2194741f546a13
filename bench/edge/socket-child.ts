// Both ends of many WebSockets that say nothing, each end in a process of its own: the App (`app PORT`), or the clients (`clients PORT`),
// which open as many more as each line of their input says and answer with the number that is open.

import { createInterface } from 'node:readline';
import net from 'node:net';

/** The example of RFC 6455 §1.3. */
const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
const ACCEPT = 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=';
const AT_ONCE = 100;

const [role = '', port = ''] = process.argv.slice(2);

function serve(): void {
  const answer = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${ACCEPT}\r\n\r\n`;
  const server = net.createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', () => socket.write(answer));
    socket.resume();
  });
  server.listen({ port: Number(port), host: '127.0.0.1', backlog: 1024 });
}

function openOne(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ host: '127.0.0.1', port: Number(port) });
    socket.once('connect', () =>
      socket.write(
        `GET /socket HTTP/1.1\r\nHost: localhost:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`,
      ),
    );
    socket.once('data', (chunk: Buffer) => {
      const head = chunk.toString('latin1');
      if (head.startsWith('HTTP/1.1 101')) resolve();
      else reject(new Error(`no WebSocket: ${head}`));
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('a WebSocket was closed')));
  });
}

async function openMany(): Promise<void> {
  let open = 0;
  for await (const line of createInterface({ input: process.stdin })) {
    let left = Number(line);
    const lane = async (): Promise<void> => {
      while (left > 0) {
        left -= 1;
        await openOne();
        open += 1;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
    process.stdout.write(`${open}\n`);
  }
  process.exit(0);
}

if (role === 'app') serve();
else await openMany();
