// What leaves is what was given, in order, whoever else writes meanwhile and however slowly somebody reads.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { createSeededRandom } from '../../lib/id.ts';
import { onreadOf } from '../../sys/reader.ts';
import { Output } from './output.ts';

interface Way {
  readonly output: Output;
  readonly socket: net.Socket;
  readonly reader: net.Socket;
  readonly sent: Buffer[];
  readonly got: Buffer[];
}

async function openWays(count: number): Promise<{ ways: readonly Way[]; close(): void }> {
  const accepted: net.Socket[] = [];
  const server = net.createServer((socket) => void accepted.push(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo; // a TCP server
  const ways: Way[] = [];
  for (let index = 0; index < count; index += 1) {
    const socket = net.connect({ port, host: '127.0.0.1' });
    await Promise.all([once(socket, 'connect'), once(server, 'connection')]);
    const reader = accepted[index];
    assert.ok(reader !== undefined);
    const got: Buffer[] = [];
    reader.on('data', (bytes: Buffer) => void got.push(bytes));
    ways.push({ output: new Output(socket), socket, reader, sent: [], got });
  }
  return { ways, close: () => void server.close() };
}

test('many write at once, some to readers that do not read, pieces in memory that is used again', { timeout: 60_000 }, async () => {
  const random = createSeededRandom(7);
  const to = (most: number): number => Math.floor(random.next() * most);
  // As a socket reads: the memory is another's when the call is over.
  const shared = onreadOf({ onRead: () => undefined }).buffer;
  assert.ok(Buffer.isBuffer(shared));
  const { ways, close } = await openWays(8);
  try {
    for (let round = 0; round < 3_000; round += 1) {
      const way = ways[to(ways.length)];
      assert.ok(way !== undefined);
      const { output, sent, reader, socket } = way;
      const kind = to(12);
      if (kind < 5) {
        const text = String.fromCharCode(33 + to(200)).repeat(1 + to(300));
        output.text(text);
        sent.push(Buffer.from(text, 'latin1'));
      } else if (kind < 9) {
        const length = to(6) === 0 ? 1 + to(60_000) : 1 + to(3_000);
        const from = to(shared.length - length);
        shared.fill(to(256), from, from + length);
        sent.push(Buffer.from(shared.subarray(from, from + length)));
        output.piece(shared.subarray(from, from + length));
        shared.fill(0, from, from + length);
      } else if (kind < 11) output.flushSoon();
      else output.flush();
      // Some do not read for a while: then the system takes no more, and what was written has to stay as it was.
      if (to(40) === 0) reader.pause();
      else if (to(20) === 0) reader.resume();
      if (socket.writableLength > 4_000_000) reader.resume();
      if (to(8) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    for (const { output, socket, reader, sent, got } of ways) {
      reader.resume();
      output.flush();
      assert.equal(output.waiting, false);
      socket.end();
      await once(reader, 'end');
      assert.ok(Buffer.concat(got).equals(Buffer.concat(sent)));
      assert.equal(output.unsent, 0);
      reader.destroy();
    }
  } finally {
    for (const { socket, reader } of ways) {
      socket.destroy();
      reader.destroy();
    }
    close();
  }
});

test('what a socket keeps for later stays as it was, whatever others write meanwhile', { timeout: 60_000 }, async () => {
  const { ways, close } = await openWays(2);
  const [slow, fast] = ways;
  assert.ok(slow !== undefined && fast !== undefined);
  const give = ({ output, sent }: Way, byte: number): void => {
    const piece = Buffer.alloc(1_000, byte);
    output.text(`${byte}\r\n`);
    output.piece(piece);
    sent.push(Buffer.from(`${byte}\r\n`), piece);
    output.flush();
  };
  try {
    slow.reader.pause();
    let kept = 0;
    for (let count = 0; kept < 50; count += 1) {
      give(slow, count % 256);
      if (slow.socket.writableLength > 0) kept += 1;
      give(fast, (count + 128) % 256);
      if (count % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    for (const { socket, reader, sent, got } of ways) {
      reader.resume();
      socket.end();
      await once(reader, 'end');
      assert.ok(Buffer.concat(got).equals(Buffer.concat(sent)));
    }
  } finally {
    for (const { socket, reader } of ways) {
      socket.destroy();
      reader.destroy();
    }
    close();
  }
});

test('text that is longer than what short answers are put together in leaves whole', { timeout: 60_000 }, async () => {
  const { ways, close } = await openWays(1);
  const [way] = ways;
  assert.ok(way !== undefined);
  const { output, socket, reader, got } = way;
  try {
    const long = 'x'.repeat(300_000);
    output.text(long);
    output.piece(Buffer.from('a piece'));
    output.text(long);
    output.text('more');
    output.flush();
    socket.end();
    await once(reader, 'end');
    assert.equal(Buffer.concat(got).toString('latin1'), `${long}a piece${long}more`);
  } finally {
    socket.destroy();
    reader.destroy();
    close();
  }
});
