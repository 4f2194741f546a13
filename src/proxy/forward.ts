// Carries one request to a target and its answer back, streaming both ways. A try is repeated elsewhere only where it cannot have had
// an effect, or where an effect twice is the same as once and the whole body is still at hand.

import type { Socket } from 'node:net';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/failure.ts';
import type { Deadlines } from './deadlines.ts';
import type { Target } from './dial.ts';
import type { OpenCounts } from './drain.ts';
import type { Exchange, ExchangeResult } from './exchange.ts';
import { upstreamHeaders } from './headers.ts';
import type { PassiveHealth } from './health.ts';
import type { ProxyLimits } from './limits.ts';
import type { Pool } from './pool.ts';
import { relayAnswer } from './relay.ts';
import type { Relay } from './relay.ts';
import { createRequestBody, discardBody } from './request-body.ts';
import type { RequestBody } from './request-body.ts';

export interface ForwardDeps {
  readonly pool: Pool;
  readonly health: PassiveHealth;
  readonly open: OpenCounts;
  readonly deadlines: Deadlines;
  readonly limits: ProxyLimits;
  readonly clock: Clock;
}

/** RFC 9110 §9.2.2. */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);

export type AttemptResult =
  | { readonly type: 'done'; readonly result: ExchangeResult }
  /** No connection: nothing was sent. */
  | { readonly type: 'unconnected' }
  /** The connection broke before the answer began. `sent`: something of the request had left. */
  | { readonly type: 'broken'; readonly reused: boolean; readonly sent: boolean; readonly message: string };

/** Runs the exchange to its end. Resolves always, whatever client and targets do. */
export async function forward(deps: ForwardDeps, exchange: Exchange): Promise<ExchangeResult> {
  const body = createRequestBody(exchange.request, deps.limits.replayBytes);
  const repeatable = IDEMPOTENT.has(exchange.request.method ?? '');
  const result = await tryTargets(
    deps,
    exchange,
    (target) => tryTarget(deps, exchange, body, target),
    (sent) => (repeatable || !sent) && body.replayable(),
  );
  exchange.facts.bytesIn = body.bytes();
  return result;
}

/** Tries targets until one attempt is done, none is left, or a repetition is not allowed. */
export async function tryTargets(
  deps: ForwardDeps,
  exchange: Exchange,
  attempt: (target: Target) => Promise<AttemptResult>,
  mayRepeat: (sent: boolean) => boolean,
): Promise<ExchangeResult> {
  const { facts } = exchange;
  const tried = new Set<string>();
  let givenUp: ExchangeResult = { type: 'no_target', reason: 'none' };
  let again: Target | null = null;
  for (;;) {
    const target: Target | 'busy' | null = again ?? exchange.next(tried);
    again = null;
    if (target === 'busy') return { type: 'no_target', reason: 'busy' };
    if (target === null || facts.attempts >= deps.limits.attempts) return givenUp;
    facts.target = target;
    facts.attempts += 1;
    const outcome = await attempt(target);
    switch (outcome.type) {
      case 'done':
        return outcome.result;
      case 'unconnected':
        deps.health.failed(target);
        if (givenUp.type === 'no_target') givenUp = { type: 'no_target', reason: 'refused' };
        tried.add(target.id);
        break;
      case 'broken':
        givenUp = { type: 'failed', reason: 'reset', message: outcome.message };
        if (!mayRepeat(outcome.sent)) return givenUp;
        // What else is idle there is as old as the connection that broke.
        deps.pool.closeIdle(target);
        if (outcome.reused) again = target;
        else tried.add(target.id);
        break;
    }
    if (exchange.request.socket.destroyed) return { type: 'client_gone', status: null };
  }
}

function tryTarget(deps: ForwardDeps, exchange: Exchange, body: RequestBody, target: Target): Promise<AttemptResult> {
  const { limits, clock } = deps;
  const { request, response, facts } = exchange;
  return new Promise((resolve) => {
    const upstream = deps.pool.request(target, {
      method: request.method ?? 'GET',
      path: exchange.path,
      headers: upstreamHeaders(request, exchange.client, null),
    });
    const deadline = deps.deadlines.create();
    let connection: Socket | null = null;
    let writtenBefore = 0;
    let relay: Relay | null = null;
    let stopSending = (): void => undefined;
    let settled = false;

    const settle = (result: AttemptResult): void => {
      if (settled) return;
      settled = true;
      leave();
      deadline.clear();
      stopSending();
      response.off('close', onClientClose);
      resolve(result);
    };
    /** Ends the try from our side. */
    const abandon = (result: ExchangeResult): void => {
      settle({ type: 'done', result });
      upstream.destroy();
    };
    const fail = (reason: 'timeout' | 'client_timeout' | 'invalid_answer', message: string): void =>
      abandon({ type: 'failed', reason, message });
    const leave = deps.open.enter(target.id, {
      close: () => {
        const reason = 'the target was stopped at its drain limit';
        if (relay === null) fail('timeout', reason);
        else relay.end(reason);
      },
    });
    const onClientClose = (): void => {
      if (!response.writableFinished) abandon({ type: 'client_gone', status: relay === null ? null : response.statusCode });
    };
    response.on('close', onClientClose);

    const awaitAnswer = (): void =>
      deadline.set(limits.responseTimeoutMs, () => fail('timeout', `the target did not answer within ${limits.responseTimeoutMs} ms`));
    const send = (): void => {
      deadline.set(limits.bodyIdleMs, () => {
        if (request.isPaused()) fail('timeout', `the target took nothing of the request body for ${limits.bodyIdleMs} ms`);
        else fail('client_timeout', `the client sent nothing of its body for ${limits.bodyIdleMs} ms`);
      });
      stopSending = body.sendTo(
        upstream,
        () => deadline.touch(),
        () => {
          if (relay === null) awaitAnswer();
        },
      );
    };

    upstream.on('socket', (socket) => {
      connection = socket;
      writtenBefore = socket.bytesWritten;
      facts.connectMs ??= clock.monotonic() - facts.startedMs;
      if (settled) return;
      if (request.headers.expect === undefined || body.ended()) return send();
      awaitAnswer();
      upstream.flushHeaders();
    });
    upstream.on('continue', () => {
      if (settled || body.ended()) return;
      response.writeContinue();
      send();
    });
    upstream.on('information', (info) => {
      const link = info.headers.link;
      if (info.statusCode === 103 && link !== undefined && !settled) response.writeEarlyHints({ link });
    });
    // Not asked for, and without a listener Node would drop it in silence.
    upstream.on('upgrade', (_answer, stream) => {
      stream.destroy();
      fail('invalid_answer', 'the target answered 101 to a request without an upgrade');
    });
    upstream.on('error', (error) => {
      if (settled) return;
      if (relay !== null) {
        // The target has begun its answer and reads no further: what it says counts, not that it no longer listens.
        stopSending();
      } else if (connection === null) settle({ type: 'unconnected' });
      else if (isParseError(error)) fail('invalid_answer', messageOf(error));
      else
        settle({ type: 'broken', reused: upstream.reusedSocket, sent: connection.bytesWritten > writtenBefore, message: messageOf(error) });
    });
    upstream.on('response', (answer) => {
      if (settled) {
        answer.destroy();
        return;
      }
      deps.health.succeeded(target);
      facts.firstByteMs = clock.monotonic() - facts.startedMs;
      // A client that waits for leave to send its body, and gets the answer instead, cannot use the connection again.
      if (request.headers.expect !== undefined && !body.ended()) response.shouldKeepAlive = false;
      relay = relayAnswer({
        exchange,
        answer,
        limits,
        deadline,
        onResult: (result) => {
          switch (result.type) {
            case 'whole':
              settle({ type: 'done', result: { type: 'answered', status: result.status } });
              if (body.ended()) break;
              // An answer before the end of the body: the target wants no more of it.
              discardBody(request, limits, deps.deadlines);
              upstream.destroy();
              break;
            case 'unusable':
              return fail('invalid_answer', result.message);
            case 'cut':
              return abandon(result);
          }
        },
      });
    });
  });
}

function isParseError(error: Error): boolean {
  return 'code' in error && typeof error.code === 'string' && error.code.startsWith('HPE_');
}
