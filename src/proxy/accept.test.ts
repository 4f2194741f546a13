// Connections whose bytes go to a reader: the same whether the library's handle is asked directly or its own way is gone.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { createReadingServer, takeHandle } from './accept.ts';
import type { OnAccepted } from './accept.ts';

test('the handle of this version of the library is as it is known', async () => {
  let taken: boolean | null = null;
  const server = createReadingServer(
    () => undefined,
    (its, onAccepted) => (taken = takeHandle(its, onAccepted)),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  assert.equal(taken, true);
  server.close();
  await once(server, 'close');
});

for (const [way, take] of [
  ['straight', takeHandle],
  ['by its own way', () => false],
] as const)
  describe(`a server that reads ${way}`, () => {
    const listen = async (t: TestContext, onAccepted: OnAccepted): Promise<number> => {
      const server = createReadingServer(onAccepted, take);
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      t.after(() => void server.close());
      const address = server.address();
      assert.ok(typeof address === 'object' && address !== null);
      return address.port;
    };

    test('tells who it is, gives every byte in order, then the end, and may answer after it', async (t) => {
      const sent = randomBytes(5 * 1024 * 1024);
      const hash = createHash('sha256');
      let peer = '';
      const port = await listen(t, (socket, reader) => {
        peer = `${socket.remoteAddress ?? ''} ${socket.remotePort ?? 0}`;
        let bytes = 0;
        reader.onRead = (chunk) => {
          bytes += chunk.length;
          hash.update(chunk);
        };
        socket.resume();
        socket.on('end', () => socket.end(`${bytes} ${socket.bytesRead}`));
      });
      const client = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true });
      await once(client, 'connect');
      const { localPort } = client;
      client.end(sent);
      let answer = '';
      client.on('data', (chunk: Buffer) => (answer += chunk.toString()));
      await once(client, 'end');
      assert.equal(peer, `127.0.0.1 ${localPort ?? 0}`);
      assert.equal(answer, `${sent.length} ${sent.length}`);
      assert.equal(hash.digest('hex'), createHash('sha256').update(sent).digest('hex'));
    });

    test('reads nothing while it is paused, and what comes meanwhile afterwards', async (t) => {
      let wake: () => void = () => undefined;
      let bytes = 0;
      const port = await listen(t, (socket, reader) => {
        socket.pause();
        reader.onRead = (chunk) => {
          bytes += chunk.length;
          // A reader may stop it from inside.
          if (bytes === chunk.length) {
            socket.pause();
            setImmediate(() => socket.resume());
          }
        };
        wake = () => void socket.resume();
        socket.on('end', () => socket.end('over'));
      });
      const client = net.connect({ host: '127.0.0.1', port, allowHalfOpen: true });
      await once(client, 'connect');
      client.end(Buffer.alloc(1024 * 1024));
      for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
      assert.equal(bytes, 0);
      wake();
      const [over] = (await once(client, 'data')) as [Buffer];
      assert.equal(over.toString(), 'over');
      assert.equal(bytes, 1024 * 1024);
    });

    test('tells a reset by an error and its close', async (t) => {
      const told: string[] = [];
      let closed: () => void = () => undefined;
      const over = new Promise<void>((resolve) => (closed = resolve));
      const port = await listen(t, (socket, reader) => {
        reader.onRead = () => undefined;
        socket.resume();
        socket.write('hello');
        socket.on('error', (error) => told.push('code' in error ? String(error.code) : error.message));
        socket.on('close', () => {
          told.push('close');
          closed();
        });
      });
      const client = net.connect({ host: '127.0.0.1', port });
      await once(client, 'data');
      client.resetAndDestroy();
      await over;
      assert.deepEqual(told, ['ECONNRESET', 'close']);
    });
  });
