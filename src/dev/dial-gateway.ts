// The one connection of a laptop to the platform: TCP, perhaps through an HTTP proxy (CONNECT, RFC 9110 §9.3.6), TLS where the URL says
// so, and an upgrade to the protocol of sessions. What comes out is a connection on which nothing else is said.

import { once } from 'node:events';
import net from 'node:net';
import type { Socket } from 'node:net';
import tls from 'node:tls';
import type { Clock } from '../lib/clock.ts';
import { Failure, isFailure, messageOf } from '../lib/failure.ts';
import { isLoopback } from './proxy-settings.ts';

export interface GatewayAddress {
  readonly url: URL;
  readonly credential: string;
  /** Null: there is none in the way. */
  readonly proxy: URL | null;
  /** Further authorities that are believed, PEM. */
  readonly ca?: readonly string[];
}

const PROTOCOL = 'libra-dev';
const DEADLINE_MS = 10_000;
const HEAD_BYTES = 16 * 1024;
const KEEPALIVE_MS = 15_000;

/**
 * Throws `unauthenticated` where there is no such session, `unavailable` where the Edge cannot take it now, `unreachable` and `timeout`
 * for everything on the way.
 */
export async function dialGateway(
  address: GatewayAddress,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<Socket> {
  const { url, proxy } = address;
  const deadline = new AbortController();
  const cancel = clock.timer(DEADLINE_MS, () =>
    deadline.abort(new Failure('timeout', { message: `${url.host} did not answer within ${DEADLINE_MS / 1000} s.` })),
  );
  const any = AbortSignal.any([signal, deadline.signal]);
  const sockets: Socket[] = [];
  const onAbort = (): void => {
    for (const socket of sockets) socket.destroy(any.reason instanceof Error ? any.reason : new Error('it was given up'));
  };
  any.addEventListener('abort', onAbort, { once: true });
  try {
    any.throwIfAborted();
    const port = portOf(url);
    let socket = proxy === null ? net.connect({ host: hostOf(url), port }) : await throughProxy(proxy, url, port, sockets);
    sockets.push(socket);
    if (proxy === null) await connected(socket, 'connect');
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    if (url.protocol === 'https:') {
      const ca = address.ca === undefined ? {} : { ca: [...tls.rootCertificates, ...address.ca] };
      const secure = tls.connect({ socket, servername: url.hostname, ALPNProtocols: ['http/1.1'], ...ca });
      sockets.push(secure);
      await connected(secure, 'secureConnect');
      socket = secure;
    }
    await upgrade(socket, address);
    return socket;
  } catch (error) {
    for (const socket of sockets) {
      socket.on('error', () => undefined);
      socket.destroy();
    }
    signal.throwIfAborted();
    if (deadline.signal.aborted) throw deadline.signal.reason;
    if (isFailure(error)) throw error;
    const through = proxy === null ? '' : ` through the proxy ${proxy.host}`;
    throw new Failure('unreachable', { message: `Cannot connect to ${url.host}${through}: ${messageOf(error)}.`, cause: error });
  } finally {
    cancel();
    any.removeEventListener('abort', onAbort);
  }
}

const portOf = (url: URL): number => (url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port));
const hostOf = (url: URL): string =>
  isLoopback(url.hostname) && !url.hostname.includes(':') ? '127.0.0.1' : url.hostname.replace(/^\[|\]$/gu, '');

/** Rejects where it breaks or ends instead. */
async function connected(socket: Socket, event: 'connect' | 'secureConnect'): Promise<void> {
  const over = new AbortController();
  const closed = once(socket, 'close', { signal: over.signal }).then(() => {
    throw new Error('the connection was closed');
  });
  try {
    await Promise.race([once(socket, event, { signal: over.signal }), closed]);
  } finally {
    over.abort();
    closed.catch(() => undefined);
  }
}

async function throughProxy(proxy: URL, url: URL, port: number, sockets: Socket[]): Promise<Socket> {
  const isSecure = proxy.protocol === 'https:';
  const at = { host: hostOf(proxy), port: portOf(proxy) };
  const socket = isSecure ? tls.connect({ ...at, servername: proxy.hostname }) : net.connect(at);
  sockets.push(socket);
  await connected(socket, isSecure ? 'secureConnect' : 'connect');
  const target = `${url.hostname}:${port}`;
  const login = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  const authorization = proxy.username === '' ? '' : `Proxy-Authorization: Basic ${Buffer.from(login).toString('base64')}\r\n`;
  const head = await ask(socket, `CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n${authorization}\r\n`);
  if (head.status >= 200 && head.status < 300) return socket;
  throw new Failure('unreachable', {
    message: `The proxy ${proxy.host} does not let connections through to ${target}: it answered ${head.status} ${head.reason}.`,
    hint:
      head.status === 407
        ? 'Put the name and password that it asks for into HTTPS_PROXY.'
        : 'HTTPS_PROXY names it; NO_PROXY names hosts that are reached without it.',
  });
}

async function upgrade(socket: Socket, { url, credential }: GatewayAddress): Promise<void> {
  const { status, reason, text } = await ask(
    socket,
    `GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\nConnection: Upgrade\r\nUpgrade: ${PROTOCOL}\r\nAuthorization: Bearer ${credential}\r\n\r\n`,
  );
  if (status === 101) return;
  const said = text === '' ? `${status} ${reason}` : text;
  if (status === 401) throw new Failure('unauthenticated', { message: said, hint: 'Begin a new one: libra dev' });
  if (status === 503) throw new Failure('unavailable', { message: said });
  throw new Failure('unreachable', {
    message: `${url.host} does not know the protocol of sessions: it answered ${status} ${reason}.`,
    hint: 'The address has to lead to an Edge of the platform, with nothing in between that speaks HTTP for it.',
  });
}

interface Head {
  readonly status: number;
  readonly reason: string;
  /** First line of a short body that came with it. */
  readonly text: string;
}

/** Reads no further than the end of the head: what stands behind it is put back. */
function ask(socket: Socket, request: string): Promise<Head> {
  return new Promise((resolve, reject) => {
    let bytes = Buffer.alloc(0);
    const stop = (): void => {
      socket.off('readable', onReadable);
      socket.off('error', onError);
      socket.off('close', onClose);
    };
    const onError = (error: Error): void => {
      stop();
      reject(error);
    };
    const onClose = (): void => onError(new Error('the connection was closed'));
    const onReadable = (): void => {
      for (let piece: unknown = socket.read(); Buffer.isBuffer(piece); piece = socket.read()) bytes = Buffer.concat([bytes, piece]);
      const end = bytes.indexOf('\r\n\r\n');
      if (end === -1) {
        if (bytes.length > HEAD_BYTES) onError(new Error('the answer is no HTTP'));
        return;
      }
      const [, status = '', reason = ''] = /^HTTP\/1\.[01] (\d{3}) ?([^\r\n]*)/u.exec(bytes.toString('latin1', 0, end)) ?? [];
      if (status === '') return onError(new Error('the answer is no HTTP'));
      stop();
      const rest = bytes.subarray(end + 4);
      const isOver = Number(status) === 101 || (Number(status) >= 200 && Number(status) < 300);
      if (isOver && rest.length > 0) socket.unshift(rest);
      resolve({ status: Number(status), reason, text: isOver ? '' : (rest.toString().split('\n', 1)[0] ?? '').slice(0, 200) });
    };
    socket.on('readable', onReadable);
    socket.on('error', onError);
    socket.on('close', onClose);
    socket.write(request);
  });
}
