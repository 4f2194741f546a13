// The ways out. Each takes a batch and resolves when it is delivered as far as its protocol can tell; what rejects is sent again.

import { createSocket } from 'node:dgram';
import { appendFile } from 'node:fs/promises';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { Failure, messageOf } from '../../lib/failure.ts';
import type { LogTarget } from '../../model/log-target.ts';
import { jsonOf, syslogOf } from './line.ts';
import type { ForwardedLine } from './line.ts';

export interface Sink {
  /** Resolves with how many of the lines are lost for good. */
  send(lines: readonly ForwardedLine[], signal: AbortSignal): Promise<number>;
  close(): void;
}

const DEADLINE_MS = 10_000;
/** What a datagram carries over any network, less its headers. */
const DATAGRAM_BYTES = 65_000;

/** `headers` go with every request over HTTP. */
export function openSink(target: LogTarget, headers: Readonly<Record<string, string>>, deadlineMs = DEADLINE_MS): Sink {
  switch (target.kind) {
    case 'http':
      return httpSink(target.url, headers, deadlineMs);
    case 'tcp':
      return tcpSink(target, deadlineMs);
    case 'udp':
      return udpSink(target);
    case 'file':
      return fileSink(target.path);
  }
}

const failed = (message: string, cause?: unknown): Failure => new Failure('unavailable', { message, cause });

/** One JSON object a line; any answer of 2xx means that all are taken. */
function httpSink(url: string, headers: Readonly<Record<string, string>>, deadlineMs: number): Sink {
  return {
    send: async (lines, signal) => {
      let response: Response;
      try {
        response = await fetch(url, {
          method: 'POST',
          headers: { 'content-type': 'application/x-ndjson', ...headers },
          body: lines.map((line) => `${jsonOf(line)}\n`).join(''),
          redirect: 'error',
          signal: AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]),
        });
        await response.body?.cancel();
      } catch (error) {
        const { cause } = error instanceof Error ? error : { cause: undefined };
        throw failed(`the request failed: ${messageOf(cause ?? error)}`, error);
      }
      if (!response.ok) throw failed(`the receiver answered ${response.status}`);
      return 0;
    },
    close: () => undefined,
  };
}

/** Delivered means given to the kernel: what a receiver that dies has not read by then is lost, and nobody can tell. */
function tcpSink({ host, port, format }: Extract<LogTarget, { kind: 'tcp' | 'udp' }>, deadlineMs: number): Sink {
  let socket: Socket | null = null;
  const open = async (signal: AbortSignal): Promise<Socket> => {
    const fresh = connect({ host, port });
    // Not the option of connect: that would end the connection with the deadline of its beginning.
    const late = AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]);
    const giveUp = (): void => void fresh.destroy(new Error('it took too long'));
    late.addEventListener('abort', giveUp, { once: true });
    await new Promise<void>((resolve, reject) => {
      fresh.once('connect', resolve);
      fresh.once('error', reject);
    }).finally(() => late.removeEventListener('abort', giveUp));
    // Receivers say nothing; what they say is not kept.
    fresh.resume();
    fresh.on('error', () => fresh.destroy());
    fresh.on('end', () => fresh.destroy());
    fresh.on('close', () => {
      if (socket === fresh) socket = null;
    });
    return fresh;
  };
  /** Octet counting (RFC 6587, 3.4.1) keeps messages apart whatever they hold. */
  const framed = (line: ForwardedLine): Buffer => {
    if (format === 'json') return Buffer.from(`${jsonOf(line)}\n`);
    const message = Buffer.from(syslogOf(line));
    return Buffer.concat([Buffer.from(`${message.length} `), message]);
  };
  return {
    send: async (lines, signal) => {
      try {
        socket ??= await open(signal);
        const current = socket;
        const written = Promise.withResolvers<void>();
        const onEnd = (): void => written.reject(new Error('the connection was lost'));
        const timer = AbortSignal.any([signal, AbortSignal.timeout(deadlineMs)]);
        timer.addEventListener('abort', onEnd, { once: true });
        current.once('close', onEnd);
        current.write(Buffer.concat(lines.map(framed)), (error) => (error ? written.reject(error) : written.resolve()));
        await written.promise.finally(() => {
          timer.removeEventListener('abort', onEnd);
          current.off('close', onEnd);
        });
        return 0;
      } catch (error) {
        socket?.destroy();
        socket = null;
        throw failed(`no connection to ${host}:${port}: ${messageOf(error)}`, error);
      }
    },
    close: () => void socket?.end(),
  };
}

/** Nobody says whether a datagram arrived; only what cannot be sent counts as lost. */
function udpSink({ host, port, format }: Extract<LogTarget, { kind: 'tcp' | 'udp' }>): Sink {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  // A receiver that is not there answers with an error of some earlier datagram.
  socket.on('error', () => undefined);
  socket.unref();
  return {
    send: async (lines) => {
      let lost = 0;
      for (const line of lines) {
        const message = Buffer.from(format === 'json' ? jsonOf(line) : syslogOf(line));
        if (message.length > DATAGRAM_BYTES) {
          lost += 1;
          continue;
        }
        await new Promise<void>((resolve) => {
          socket.send(message, port, host, (error) => {
            if (error !== null) lost += 1;
            resolve();
          });
        });
      }
      return lost;
    },
    close: () => void socket.close(),
  };
}

/** Opened anew for every batch, so that whoever rotates the file may just rename it. */
function fileSink(path: string): Sink {
  return {
    send: async (lines) => {
      try {
        await appendFile(path, lines.map((line) => `${jsonOf(line)}\n`).join(''), { mode: 0o640 });
      } catch (error) {
        throw failed(messageOf(error), error);
      }
      return 0;
    },
    close: () => undefined,
  };
}
