// Carries a WebSocket: the handshake as a request on a connection of its own, then a tunnel. An answer other than 101 goes to the
// client as any answer.

import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { messageOf } from '../lib/failure.ts';
import type { Target } from './dial.ts';
import type { Exchange, ExchangeResult } from './exchange.ts';
import { tryTargets } from './forward.ts';
import type { AttemptResult, ForwardDeps } from './forward.ts';
import { clientHeaders, upstreamHeaders } from './headers.ts';
import { relayAnswer } from './relay.ts';
import type { Relay } from './relay.ts';
import { tunnelStreams } from './tunnel-streams.ts';
import { createFrameTracker, goingAwayFrame } from './websocket-frames.ts';

/** Both sides get this long to answer "going away". */
const END_MS = 1_000;

/** The protocol that an upgrade request may ask for; null where the request goes on as a plain one (RFC 9110 §7.8). */
export function upgradeOf(request: IncomingMessage): 'websocket' | null {
  const { headers } = request;
  // A body would be taken for the first bytes of the stream.
  if (request.method !== 'GET' || headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined) return null;
  if (headers.upgrade?.trim().toLowerCase() !== 'websocket') return null;
  return headers.connection
    ?.toLowerCase()
    .split(',')
    .some((token) => token.trim() === 'upgrade') === true
    ? 'websocket'
    : null;
}

/** Runs the exchange to the end of the stream. `head`: what the client has sent behind its request. */
export function forwardUpgrade(deps: ForwardDeps, exchange: Exchange, head: Buffer): Promise<ExchangeResult> {
  // A handshake is a GET without a body: it may be repeated until it is answered.
  return tryTargets(
    deps,
    exchange,
    (target) => tryUpgrade(deps, exchange, head, target),
    () => true,
  );
}

function tryUpgrade(deps: ForwardDeps, exchange: Exchange, head: Buffer, target: Target): Promise<AttemptResult> {
  const { limits, clock } = deps;
  const { request, response, facts } = exchange;
  const client: Duplex = request.socket;
  return new Promise((resolve) => {
    const upstream = deps.pool.requestAlone(target, {
      method: 'GET',
      path: exchange.path,
      headers: upstreamHeaders(request, exchange.client, 'websocket'),
    });
    const deadline = deps.deadlines.create();
    let connected = false;
    let relay: Relay | null = null;
    let endStream: (() => void) | null = null;
    let settled = false;

    const settle = (result: AttemptResult): void => {
      if (settled) return;
      settled = true;
      leave();
      deadline.clear();
      client.off('close', onClientClose);
      resolve(result);
    };
    const abandon = (result: ExchangeResult): void => {
      settle({ type: 'done', result });
      upstream.destroy();
    };
    const leave = deps.open.enter(target.id, {
      close: () => {
        const reason = 'the target was stopped at its drain limit';
        if (endStream !== null) endStream();
        else if (relay !== null) relay.end(reason);
        else abandon({ type: 'failed', reason: 'timeout', message: reason });
      },
    });
    const onClientClose = (): void => abandon({ type: 'client_gone', status: null });
    client.on('close', onClientClose);

    deadline.set(limits.responseTimeoutMs, () =>
      abandon({
        type: 'failed',
        reason: 'timeout',
        message: `the target did not answer the handshake within ${limits.responseTimeoutMs} ms`,
      }),
    );
    upstream.on('socket', () => {
      connected = true;
      facts.connectMs ??= clock.monotonic() - facts.startedMs;
    });
    upstream.on('error', (error) => {
      if (relay !== null) return;
      if (connected) settle({ type: 'broken', reused: false, sent: true, message: messageOf(error) });
      else settle({ type: 'unconnected' });
    });
    upstream.on('response', (answer) => {
      if (settled) return;
      deps.health.succeeded(target);
      facts.firstByteMs = clock.monotonic() - facts.startedMs;
      response.shouldKeepAlive = false;
      relay = relayAnswer({
        exchange,
        answer,
        limits,
        deadline,
        onResult: (result) => {
          if (result.type === 'unusable') abandon({ type: 'failed', reason: 'invalid_answer', message: result.message });
          else if (result.type === 'cut') abandon(result);
          else abandon({ type: 'answered', status: result.status });
        },
      });
    });
    upstream.on('upgrade', (answer, stream, first) => {
      if (settled || answer.headers.upgrade?.toLowerCase() !== 'websocket') {
        stream.destroy();
        abandon({ type: 'failed', reason: 'invalid_answer', message: 'the target switched to another protocol than websocket' });
        return;
      }
      deps.health.succeeded(target);
      facts.firstByteMs = clock.monotonic() - facts.startedMs;
      client.off('close', onClientClose);
      response.detachSocket(request.socket);
      client.write(handshakeHead(answer, exchange.client.requestId));
      if (first.length > 0) client.write(first);
      if (head.length > 0) stream.write(head);
      const frames = { client: createFrameTracker(), target: createFrameTracker() };
      frames.target.push(first);
      frames.client.push(head);
      const tunnel = tunnelStreams({
        client,
        target: stream,
        onData: (from, chunk) => {
          deadline.touch();
          frames[from].push(chunk);
          if (from === 'client') facts.bytesIn += chunk.length;
          else facts.bytesOut += chunk.length;
        },
        onEnd: () => settle({ type: 'done', result: { type: 'upgraded' } }),
      });
      deadline.set(limits.streamIdleMs, () => tunnel.destroy());
      endStream = () => {
        tunnel.end({
          client: frames.target.atBoundary() ? goingAwayFrame('client') : null,
          target: frames.client.atBoundary() ? goingAwayFrame('target') : null,
        });
        clock.timer(END_MS, () => tunnel.destroy());
      };
    });
    upstream.end();
  });
}

function handshakeHead(answer: IncomingMessage, requestId: string): string {
  const headers = clientHeaders(answer, requestId, false);
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: websocket'];
  for (let index = 0; index + 1 < headers.length; index += 2) lines.push(`${headers[index] ?? ''}: ${headers[index + 1] ?? ''}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}
