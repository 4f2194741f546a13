// Hands a call on to the control plane that leads, byte for byte and with the caller's own credential, and its reply back. Nothing is
// repeated here: a call that was cut off may have been carried out, and only its caller knows whether it may be sent again.

import { STATUS_CODES } from 'node:http';
import type { ClientRequest, IncomingHttpHeaders, IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Clock } from '../../lib/clock.ts';
import { Failure } from '../../lib/failure.ts';
import type { LeaderElsewhere } from './leadership.ts';
import { endToEnd, FORWARDED, REVISION } from './peer.ts';
import type { Peers } from './peer.ts';

export interface ForwardOptions {
  readonly peers: Peers;
  readonly clock: Clock;
  /** Resolves when the own view holds that revision. */
  readonly waitFor: (revision: number, signal: AbortSignal) => Promise<void>;
}

/** What is handed on: to whom, under which id, and how long its reply may let wait, milliseconds. */
export interface ForwardTo {
  readonly leader: LeaderElsewhere;
  readonly requestId: string;
  readonly headMs: number;
  /** In place of a credential, where the call has none that can be handed on. */
  readonly headers: OutgoingHttpHeaders;
}

export interface Forward {
  /** Resolves when the reply is through. Throws `unavailable` (details.moving) while nothing of a reply has been sent. */
  call(request: IncomingMessage, response: ServerResponse, to: ForwardTo): Promise<void>;
  /** The same for the upgrade of a socket; resolves when it is closed. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, to: ForwardTo): Promise<void>;
}

/** No part of a stream is silent for so long: the server sends heartbeats. */
const SILENCE_MS = 60_000;
/** The own view is a moment behind; beyond that the caller is not kept waiting. */
const CATCH_UP_MS = 3_000;

export function createForward({ peers, clock, waitFor }: ForwardOptions): Forward {
  /** Resolves with the reply, or the switched connection. */
  const answered = (outgoing: ClientRequest, to: ForwardTo): Promise<{ reply: IncomingMessage; tunnel: Duplex | null; rest: Buffer }> => {
    const arrived = new Promise<{ reply: IncomingMessage; tunnel: Duplex | null; rest: Buffer }>((resolve, reject) => {
      outgoing.once('response', (reply) => resolve({ reply, tunnel: null, rest: Buffer.alloc(0) }));
      outgoing.once('upgrade', (reply, tunnel, rest) => resolve({ reply, tunnel, rest }));
      // Heard for good: it may break after its reply too.
      outgoing.on('error', reject);
    });
    const cancel = clock.timer(to.headMs, () => outgoing.destroy(new Error(`no reply within ${to.headMs} ms`)));
    return arrived
      .catch((cause: unknown) => {
        throw moving('The control plane that leads does not answer.', { cause, untouched: isRefused(cause) });
      })
      .finally(cancel);
  };

  const headersOf = (request: IncomingMessage, to: ForwardTo): OutgoingHttpHeaders => {
    // Where it came from was judged here; there it comes from this control plane.
    const { host: _host, origin: _origin, 'sec-fetch-site': _site, ...headers } = endToEnd(request.headers);
    return { ...headers, ...to.headers, 'x-request-id': to.requestId, [FORWARDED]: '1' };
  };

  /** The headers of the reply for the caller, when the own view holds what the reply tells of. */
  const caughtUp = async (headers: IncomingHttpHeaders): Promise<OutgoingHttpHeaders> => {
    const { [REVISION]: revision, ...others } = endToEnd(headers);
    if (typeof revision === 'string') await waitFor(Number(revision), AbortSignal.timeout(CATCH_UP_MS)).catch(() => undefined);
    return others;
  };

  return {
    call: async (request, response, to) => {
      const over = new AbortController();
      response.once('close', () => over.abort(new Error('the caller has gone')));
      const signal = AbortSignal.any([to.leader.moved, over.signal]);
      const { method = 'GET', url = '/' } = request;
      const outgoing = peers.request(to.leader.peer, { method, path: url, headers: headersOf(request, to), signal });
      const arrived = answered(outgoing, to);
      arrived.catch(() => undefined);
      if (request.headers['content-length'] === undefined && request.headers['transfer-encoding'] === undefined) outgoing.end();
      // What breaks it shows in the reply that does not come.
      else pipeline(request, outgoing).catch(() => undefined);
      const { reply } = await arrived;
      const headers = await caughtUp(reply.headers);
      response.writeHead(reply.statusCode ?? 502, headers);
      outgoing.setTimeout(SILENCE_MS, () => outgoing.destroy(new Error('silent for too long')));
      // A caller of a stream shall hear of it before its first event.
      response.flushHeaders();
      await pipeline(reply, response).catch(() => response.destroy());
    },
    upgrade: async (request, socket, head, to) => {
      const over = new AbortController();
      const onGone = (): void => over.abort(new Error('the caller has gone'));
      socket.once('close', onGone);
      const signal = AbortSignal.any([to.leader.moved, over.signal]);
      const headers = { ...headersOf(request, to), connection: 'Upgrade', upgrade: 'websocket' };
      const outgoing = peers.request(to.leader.peer, { method: 'GET', path: request.url ?? '/', headers, signal });
      outgoing.end();
      const { reply, tunnel, rest } = await answered(outgoing, to);
      socket.write(headText(reply, tunnel === null ? { ...endToEnd(reply.headers), connection: 'close' } : reply.headers));
      if (tunnel === null) {
        await pipeline(reply, socket).catch(() => socket.destroy());
        return;
      }
      signal.addEventListener('abort', () => tunnel.destroy(), { once: true });
      if (signal.aborted) tunnel.destroy();
      if (rest.length > 0) socket.write(rest);
      if (head.length > 0) tunnel.write(head);
      // The one that ends takes the other along.
      await Promise.allSettled([pipeline(tunnel, socket), pipeline(socket, tunnel)]);
      socket.destroy();
      tunnel.destroy();
    },
  };
}

/** There was no connection: nothing was sent. */
function isRefused(cause: unknown): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === 'ECONNREFUSED';
}

function headText({ statusCode = 502 }: IncomingMessage, headers: OutgoingHttpHeaders): string {
  const lines = Object.entries(headers).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).flatMap((one) => (one === undefined ? [] : [`${name}: ${one}\r\n`])),
  );
  return `HTTP/1.1 ${statusCode} ${STATUS_CODES[statusCode] ?? ''}\r\n${lines.join('')}\r\n`;
}

/**
 * Whoever may send the call again is served as soon as somebody leads. `untouched`: nobody has begun to carry it out, so that everyone may.
 */
export function moving(
  message: string,
  { cause, untouched = false }: { readonly cause?: unknown; readonly untouched?: boolean } = {},
): Failure {
  return new Failure('unavailable', {
    message,
    hint: 'Another one takes over within seconds; the same call works again then.',
    details: { moving: true, ...(untouched ? { untouched } : {}) },
    cause,
  });
}
