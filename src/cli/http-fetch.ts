// One HTTP request with the surface of fetch that the client uses. Built on node:http through getBuiltinModule: importing that module, or
// touching the global fetch, would load the whole of fetch with it, 30 to 70 ms in front of every command.

import type { IncomingMessage } from 'node:http';
import type { HttpReply, Transport } from '../api/client-request.ts';

/** The body as a stream that holds nothing: bytes stay in the socket until they are asked for. */
function bodyOf(message: IncomingMessage): ReadableStream<Uint8Array> {
  const iterator = message[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        const part = await iterator.next();
        if (part.done === true) controller.close();
        else controller.enqueue(new Uint8Array(part.value as Buffer /* no encoding is set, so chunks are buffers */));
      },
      cancel: () => {
        message.destroy();
      },
    },
    { highWaterMark: 0 },
  );
}

function replyOf(message: IncomingMessage): HttpReply {
  const status = message.statusCode ?? 0;
  return {
    status,
    ok: status >= 200 && status < 300,
    headers: {
      get: (name) => {
        const value = message.headers[name.toLowerCase()];
        return Array.isArray(value) ? value.join(', ') : (value ?? null);
      },
    },
    body: bodyOf(message),
  };
}

/** Each request has a connection of its own, so nothing of an earlier one keeps the program alive or breaks a later one. */
export const httpFetch: Transport['fetch'] = (url, { method, headers, body, signal }) => {
  const address = new URL(url);
  const { request } = process.getBuiltinModule(address.protocol === 'https:' ? 'node:https' : 'node:http');
  return new Promise((resolve, reject) => {
    // Names below localhost are this machine (RFC 6761 §6.3), which not every resolver knows.
    const lookup = address.hostname.endsWith('.localhost') ? { hostname: '127.0.0.1', servername: address.hostname } : {};
    const call = request(address, {
      method,
      ...lookup,
      headers: { host: address.host, ...headers },
      signal: signal ?? undefined,
      agent: false,
    });
    call.on('response', (message) => {
      // An abort after the headers breaks the body: whoever reads it learns of it there.
      message.on('error', () => undefined);
      resolve(replyOf(message));
    });
    call.on('error', reject);
    if (body === null) call.end();
    else if (typeof body === 'string' || body instanceof Uint8Array) call.end(body);
    else {
      process
        .getBuiltinModule('node:stream/promises')
        .pipeline(body, call)
        .catch((error: unknown) => call.destroy(error instanceof Error ? error : new Error(String(error))));
    }
  });
};
