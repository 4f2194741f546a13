// The App that foreign clients ask with and without the Edge in between: one listener for HTTP/1.1 and for HTTP/2 without TLS, event
// streams, WebSockets and gRPC. Its answers follow from the requests alone, so that two of them can be compared byte by byte.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import http2 from 'node:http2';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import type { AddressInfo, Server, Socket } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import grpc from '@grpc/grpc-js';
import { WebSocketServer } from 'ws';

export interface ForeignApp {
  readonly http1: number;
  readonly h2c: number;
  readonly grpc: number;
  /** What the page of a browser has found, as it posts it. */
  readonly results: string[];
  stop(): Promise<void>;
}

type Request = IncomingMessage | Http2ServerRequest;
type Answer = ServerResponse | Http2ServerResponse;

function* pieces(count: number): Generator<Buffer> {
  for (let left = count; left > 0; left -= CHUNK.length) yield left < CHUNK.length ? CHUNK.subarray(0, left) : CHUNK;
}

const CHUNK = Buffer.alloc(64 * 1024, 'all things by weight and measure ');

/** Runs in a browser: asks in every way that one has, and posts what came. */
const PAGE = `<!doctype html><meta charset="utf-8"><title>foreign</title><script type="module">
const digest = async (bytes) => Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)), (byte) => byte.toString(16).padStart(2, '0')).join('');
const found = {};
try {
  found.bytes = await digest(await (await fetch('/bytes?n=1000000')).arrayBuffer());
  found.echo = await (await fetch('/echo', { method: 'POST', body: 'a body of a browser' })).text();
  found.protocol = performance.getEntriesByType('resource').find((entry) => entry.name.includes('/bytes')).nextHopProtocol;
  found.events = await new Promise((resolve, reject) => {
    const source = new EventSource('/events');
    const seen = [];
    source.onmessage = (event) => { seen.push(event.data); if (seen.length === 3) { source.close(); resolve(seen); } };
    source.onerror = () => reject(new Error('events'));
  });
  found.socket = await new Promise((resolve, reject) => {
    const socket = new WebSocket(location.origin.replace('http', 'ws') + '/socket');
    socket.onopen = () => socket.send('over the wire');
    socket.onmessage = (event) => { resolve(event.data); socket.close(); };
    socket.onerror = () => reject(new Error('socket'));
  });
} catch (error) { found.error = String(error); }
await fetch('/result', { method: 'POST', body: JSON.stringify(found) });
</script>`;

async function serve(request: Request, given: Answer, results: string[]): Promise<void> {
  // Both answer alike; the two types do not meet.
  const response = given as ServerResponse;
  const url = new URL(request.url ?? '/', 'http://app');
  const count = Number(url.searchParams.get('n') ?? '0');
  switch (url.pathname) {
    case '/bytes': {
      response.setHeader('content-type', 'application/octet-stream');
      if (url.searchParams.has('length')) response.setHeader('content-length', String(count));
      response.writeHead(200);
      if (request.method !== 'HEAD') await pipeline(Readable.from(pieces(count)), response);
      else response.end();
      return;
    }
    case '/echo':
      response.writeHead(200, { 'content-type': 'application/octet-stream' });
      await pipeline(request, response);
      return;
    case '/digest': {
      const hash = createHash('sha256');
      let bytes = 0;
      for await (const chunk of request) {
        bytes += (chunk as Buffer).length;
        hash.update(chunk as Buffer);
      }
      response.end(`${bytes} ${hash.digest('hex')}\n`);
      return;
    }
    case '/events':
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      for (const data of ['one', 'two', 'three', 'four']) response.write(`id: ${data}\ndata: ${data}\n\n`);
      request.on('close', () => response.end());
      return;
    case '/result':
      for await (const chunk of request) results.push((chunk as Buffer).toString());
      response.end('thanks\n');
      return;
    case '/page':
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8' });
      response.end(PAGE);
      return;
    default:
      response.writeHead(404, { 'content-type': 'text/plain' });
      response.end(`nothing at ${url.pathname}\n`);
  }
}

const identity = (bytes: Buffer): Buffer => bytes;
const method = (path: string, requestStream: boolean, responseStream: boolean): grpc.MethodDefinition<Buffer, Buffer> => ({
  path: `/foreign.Echo/${path}`,
  requestStream,
  responseStream,
  requestSerialize: identity,
  requestDeserialize: identity,
  responseSerialize: identity,
  responseDeserialize: identity,
});

/** Without a schema: messages are bytes. */
export const ECHO = {
  unary: method('unary', false, false),
  server: method('server', false, true),
  client: method('client', true, false),
  both: method('both', true, true),
  refuse: method('refuse', false, false),
  hang: method('hang', false, false),
};

async function startGrpc(): Promise<{ readonly port: number; stop(): void }> {
  const server = new grpc.Server();
  const trailer = new grpc.Metadata();
  trailer.set('x-trailer', 'behind');
  server.addService(ECHO, {
    unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      const head = new grpc.Metadata();
      head.set('x-head', String(call.metadata.get('x-asked')[0]));
      call.sendMetadata(head);
      done(null, call.request, trailer);
    },
    server: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
      for (let index = 0; index < 100; index += 1) call.write(Buffer.concat([call.request, Buffer.from(` ${index}`)]));
      call.end(trailer);
    },
    client: (call: grpc.ServerReadableStream<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
      const parts: Buffer[] = [];
      call.on('data', (part: Buffer) => parts.push(part));
      call.on('end', () => done(null, Buffer.concat(parts), trailer));
    },
    both: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      call.on('data', (part: Buffer) => call.write(part));
      call.on('end', () => call.end(trailer));
    },
    refuse: (_call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) =>
      done({ code: grpc.status.FAILED_PRECONDITION, details: 'not today: ä' }),
    hang: () => undefined,
  });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  return { port, stop: () => server.forceShutdown() };
}

export async function startForeignApp(): Promise<ForeignApp> {
  const results: string[] = [];
  const sockets = new Set<Socket>();
  const listen = async (server: Server): Promise<number> => {
    server.on('connection', (socket: Socket) => {
      sockets.add(socket);
      socket.on('close', () => sockets.delete(socket));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port; // it listens on a port
  };
  const fail = (response: Answer, error: unknown): void => void response.destroy(error instanceof Error ? error : undefined);
  const plain = http.createServer(
    (request, response) => void serve(request, response, results).catch((error: unknown) => fail(response, error)),
  );
  const shared = http2.createServer(
    (request, response) => void serve(request, response, results).catch((error: unknown) => fail(response, error)),
  );
  const webSockets = new WebSocketServer({ server: plain, path: '/socket' });
  webSockets.on('connection', (socket) => socket.on('message', (message, binary) => socket.send(message, { binary })));
  const calls = await startGrpc();
  return {
    http1: await listen(plain),
    h2c: await listen(shared),
    grpc: calls.port,
    results,
    stop: async () => {
      calls.stop();
      webSockets.close();
      plain.close();
      shared.close();
      for (const socket of sockets) socket.destroy();
      await Promise.resolve();
    },
  };
}
