import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { httpFetch } from './http-fetch.ts';

async function withServer(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  body: (url: string) => Promise<void>,
): Promise<void> {
  const server = createServer(answer);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // listening on TCP
  try {
    await body(`http://127.0.0.1:${port}/x`);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const plain = { method: 'GET', headers: {}, body: null, redirect: 'error' } as const;
const forever = new AbortController().signal;

describe('requests of the command line', () => {
  test('give status, headers by any case, and the body', async () => {
    await withServer(
      (_request, response) => response.writeHead(404, { 'Content-Type': 'text/plain' }).end('nothing here'),
      async (url) => {
        const reply = await httpFetch(url, { ...plain, signal: forever });
        assert.deepEqual(
          [reply.ok, reply.status, reply.headers.get('CONTENT-TYPE'), reply.headers.get('x-none')],
          [false, 404, 'text/plain', null],
        );
        assert.ok(reply.body);
        assert.equal(await text(reply.body), 'nothing here');
      },
    );
  });

  test('send texts and streams', async () => {
    await withServer(
      (request, response) => request.pipe(response),
      async (url) => {
        const chunks = new ReadableStream<Uint8Array>({
          start: (controller) => {
            controller.enqueue(new TextEncoder().encode('one '));
            controller.enqueue(new TextEncoder().encode('two'));
            controller.close();
          },
        });
        for (const [body, expected] of [
          ['{"a":1}', '{"a":1}'],
          [chunks, 'one two'],
        ] as const) {
          const reply = await httpFetch(url, { ...plain, method: 'PUT', body, signal: forever });
          assert.ok(reply.body);
          assert.equal(await text(reply.body), expected);
        }
      },
    );
  });

  test('fail where nobody listens', async () => {
    await assert.rejects(httpFetch('http://127.0.0.1:1/', { ...plain, signal: forever }), /ECONNREFUSED/u);
  });

  test('are ended by their signal, before the reply and in the middle of it', async () => {
    await withServer(
      (request, response) => {
        if (request.method === 'POST') response.writeHead(200).write('the beginning');
      },
      async (url) => {
        for (const method of ['GET', 'POST']) {
          const stop = new AbortController();
          const read = async (): Promise<string> => {
            const { body } = await httpFetch(url, { ...plain, method, signal: stop.signal });
            setImmediate(() => stop.abort());
            return body === null ? '' : await text(body);
          };
          const outcome = read();
          if (method === 'GET') setImmediate(() => stop.abort());
          await assert.rejects(outcome);
        }
      },
    );
  });

  test('fail where the connection breaks in the middle of the body', async () => {
    await withServer(
      (_request, response) => {
        response.writeHead(200, { 'content-length': '1000' }).write('short');
        setImmediate(() => response.destroy());
      },
      async (url) => {
        const { body } = await httpFetch(url, { ...plain, signal: forever });
        assert.ok(body);
        await assert.rejects(text(body));
      },
    );
  });
});
