// What a target may not do on a connection that is kept.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import { Fields } from '../fields.ts';
import type { Reader } from '../../sys/reader.ts';
import type { UpstreamFailure, UpstreamObserver, UpstreamRequest } from '../message.ts';
import { UpstreamConnection } from './upstream-connection.ts';

const REQUEST: UpstreamRequest = {
  method: 'GET',
  path: '/',
  authority: 'a.test',
  scheme: 'http',
  fields: new Fields(),
  origin: new Fields(),
  length: 0,
  upgrade: null,
  expectsContinue: false,
  takesTrailers: false,
};

function observer(told: (word: string, failure?: UpstreamFailure) => void): UpstreamObserver {
  return {
    onUpstreamContinue: () => told('continue'),
    onUpstreamInformational: () => told('informational'),
    onUpstreamHead: ({ status }) => told(`head ${status}`),
    onUpstreamData: () => told('data'),
    onUpstreamPause: () => undefined,
    onUpstreamEnd: () => told('end'),
    onUpstreamDrain: () => undefined,
    onUpstreamFailed: (failure) => told('failed', failure),
  };
}

test('what comes before the request has left is no answer to it, and the request may be tried elsewhere', async () => {
  const server = net.createServer((socket) => socket.on('error', () => undefined).resume()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const socket = net.connect({ host: '127.0.0.1', port: typeof address === 'object' && address !== null ? address.port : 0 });
  await once(socket, 'connect');
  const free: string[] = [];
  const reader: Reader = { onRead: () => undefined };
  const owner = { onFree: () => void free.push('free'), onClosed: () => void free.push('closed') };
  const connection = new UpstreamConnection(socket, reader, owner, { headerBytes: 1024, writeBytes: 1024 });
  const told: string[] = [];
  let failed: UpstreamFailure | null = null;
  connection.use(
    observer((word, failure) => {
      told.push(word);
      failed = failure ?? failed;
    }),
  );
  connection.sendHead(REQUEST);
  reader.onRead(Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
  await once(socket, 'close');
  assert.deepEqual(told, ['failed']);
  assert.deepEqual(failed, { kind: 'reset', sent: false, reused: false, message: 'the target sent an answer before it was asked' });
  assert.deepEqual(free, ['closed']);
  assert.equal(socket.bytesWritten, 0);
  server.close();
  await once(server, 'close');
});
