// Carries one request to a target and its answer back, streaming both ways, whatever protocol each side speaks. A try is repeated
// elsewhere only where it cannot have had an effect, or where an effect twice is the same as once and the whole body is still at hand.

import type { Clock } from '../lib/clock.ts';
import type { DeadlineEntry, Deadlines } from './deadlines.ts';
import type { OpenCounts, OpenEntry, OpenTarget } from './drain.ts';
import type { Exchange, ExchangeResult } from './exchange.ts';
import type { Fields } from './fields.ts';
import { KeptBody } from './kept-body.ts';
import type { ProxyLimits } from './limits.ts';
import type { AnswerHead, ClientObserver, Opening, UpstreamFailure, UpstreamObserver, UpstreamStream } from './message.ts';
import { Pieces } from './pieces.ts';
import type { Pool } from './pool.ts';
import type { TargetState } from './target-state.ts';
import { Tries } from './tries.ts';
import { FrameTracker, goingAwayFrame } from './websocket-frames.ts';

export interface ForwardDeps {
  readonly pool: Pool;
  readonly open: OpenCounts;
  readonly deadlines: Deadlines;
  readonly limits: ProxyLimits;
  readonly clock: Clock;
}

/** RFC 9110 §9.2.2. */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE']);
/** Both sides of a WebSocket get this long to answer "going away". */
const END_MS = 1_000;

/**
 * opening: a connection is being made. leave: the target has to say that it wants the body. body: the body is on its way.
 * answer: all is sent, the answer has not begun. relay: the answer is on its way. tunnel: bytes both ways.
 */
type Phase = 'idle' | 'opening' | 'leave' | 'body' | 'answer' | 'relay' | 'tunnel' | 'over';

/** Runs an exchange to its end. It may be started again after `no_target`. */
export class Forwarding implements ClientObserver, UpstreamObserver, Opening, DeadlineEntry, OpenEntry {
  deadlineMs = 0;
  deadlineSlot = -1;
  openOn: OpenTarget | null = null;
  openSlot = -1;
  readonly #deps: ForwardDeps;
  readonly #exchange: Exchange;
  readonly #body: KeptBody;
  #phase: Phase = 'idle';
  #upstream: UpstreamStream | null = null;
  #opening: { cancel(): void } | null = null;
  /** Now, while a connection is asked for: one that is kept is there at once, and a look at the clock costs. Below 0: later. */
  #openingMs = -1;
  readonly #tries = new Tries();
  /** Where the try that is under way may wait no longer than a try may, and not as long as a request may. */
  #perTry = false;
  #givenUp: ExchangeResult = NO_TARGET;
  #status = 0;
  #eventStream = false;
  /** The head has just been written: what of the body is there already leaves with it. */
  #beginning = false;
  #queued: Pieces | null = null;
  #frames: { readonly client: FrameTracker; readonly target: FrameTracker } | null = null;
  #ends = 0;
  #goingAway = false;

  constructor(deps: ForwardDeps, exchange: Exchange) {
    this.#deps = deps;
    this.#exchange = exchange;
    this.#body = new KeptBody(exchange.request.length === 0, deps.limits.replayBytes);
    exchange.client.observe(this);
  }

  start(): void {
    this.#next(null);
  }

  /** Tries a target; `again`: the same one once more, since a kept connection was not what it seemed to be. */
  #next(again: TargetState | null): void {
    const { facts } = this.#exchange;
    const nowMs = this.#deps.clock.monotonic();
    if (facts.attempts >= this.#deps.limits.attempts) return this.#rest(this.#givenUp);
    if (again !== null) return this.#try(again, nowMs);
    const state = this.#tries.next(this.#exchange, nowMs);
    if (state === 'busy') return this.#rest(BUSY);
    if (state === null) return this.#rest(this.#givenUp);
    this.#try(state, nowMs);
  }

  #try(state: TargetState, nowMs: number): void {
    const { facts, request } = this.#exchange;
    const { target } = state;
    facts.target = target;
    facts.attempts += 1;
    this.#tries.begin(state, nowMs);
    this.#phase = 'opening';
    this.#deps.open.enter(target.id, this);
    this.#openingMs = nowMs;
    const opening = this.#deps.pool.open(target, request.upgrade !== null, this, this);
    this.#openingMs = -1;
    // Null: it was opened, or failed, before open returned; then another try may be under way by now.
    if (opening !== null && this.#phase === 'opening') this.#opening = opening;
  }

  onOpened(upstream: UpstreamStream): void {
    const { facts, request } = this.#exchange;
    const { deadlines, clock } = this.#deps;
    this.#opening = null;
    this.#upstream = upstream;
    const nowMs = this.#openingMs < 0 ? clock.monotonic() : this.#openingMs;
    facts.connectMs ??= nowMs - facts.startedMs;
    deadlines.add(this);
    upstream.sendHead(request);
    if (request.length === 0) this.#awaitAnswer(nowMs);
    else if (request.expectsContinue && this.#body.bytes === 0 && !this.#body.ended) {
      upstream.flush();
      this.#await('leave', this.#answerMs);
    } else this.#sendBody();
  }

  #sendBody(): void {
    const upstream = this.#upstream;
    if (upstream === null) return;
    this.#await('body', this.#deps.limits.bodyIdleMs);
    this.#body.sendTo(upstream);
    if (this.#body.ended) {
      upstream.sendEnd(this.#body.trailers);
      this.#awaitAnswer(this.#deps.clock.monotonic());
      return;
    }
    this.#beginning = true;
    this.#exchange.client.readBody(true);
    // What came in one piece with the head is read before this, leaves with it, and if it is not valid nothing leaves at all.
    queueMicrotask(() => {
      this.#beginning = false;
      this.#upstream?.flush();
    });
  }

  #await(phase: 'leave' | 'body' | 'answer' | 'relay' | 'tunnel', ms: number): void {
    this.#phase = phase;
    this.deadlineMs = this.#deps.deadlines.now() + ms;
  }

  /** All is with the target. */
  #awaitAnswer(nowMs: number): void {
    const { perTryMs } = this.#exchange.retries().policy;
    this.#tries.sent(nowMs);
    this.#perTry = perTryMs > 0 && perTryMs < this.#answerMs && this.#mayRepeat;
    this.#await('answer', this.#perTry ? perTryMs : this.#answerMs);
  }

  get #answerMs(): number {
    return this.#exchange.retries().answerMs ?? this.#deps.limits.responseTimeoutMs;
  }

  /** Twice is the same as once, or was said to be, and the whole of it is at hand. */
  get #mayRepeat(): boolean {
    const { request } = this.#exchange;
    return this.#body.replayable && (IDEMPOTENT.has(request.method) || this.#exchange.retries().policy.unsafe) && request.upgrade === null;
  }

  #touch(ms: number): void {
    this.deadlineMs = this.#deps.deadlines.now() + ms;
  }

  onOpenFailed(message: string): void {
    this.#opening = null;
    this.#tries.refused(this.#deps.clock.monotonic());
    this.#tryElsewhere(this.#givenUp.type === 'no_target' ? { type: 'no_target', reason: 'refused', message } : this.#givenUp);
  }

  /** After a try that failed and may be repeated; `givenUp` is what it comes to where it cannot. */
  #tryElsewhere(givenUp: ExchangeResult): void {
    this.#tries.giveUpTarget();
    this.#leaveTarget();
    if (this.#phase === 'over') return;
    this.#givenUp = givenUp;
    this.#next(null);
  }

  // The client's side.

  onBody(chunk: Buffer): void {
    const upstream = this.#upstream;
    const { facts, bodyBytes } = this.#exchange;
    facts.bytesIn += chunk.length;
    if (this.#phase === 'tunnel') {
      this.#frames?.client.push(chunk);
      this.#touch(this.#deps.limits.streamIdleMs);
      if (this.#goingAway) return;
      if (upstream?.sendData(chunk) === false) this.#exchange.client.readBody(false);
      else upstream?.flush();
      return;
    }
    if (facts.bytesIn > bodyBytes) {
      if (this.#phase === 'relay') this.#cut(`the request body is longer than ${bodyBytes} bytes`);
      else if (this.#phase !== 'over' && this.#phase !== 'idle')
        this.#fail('too_large', `the request body is longer than ${bodyBytes} bytes`);
      return;
    }
    this.#body.add(chunk);
    if (this.#phase === 'body') this.#touch(this.#deps.limits.bodyIdleMs);
    if (this.#beginning) {
      if (upstream?.sendData(chunk) === false) this.#exchange.client.readBody(false);
    } else if (this.#queued !== null) this.#queued.add(chunk);
    else this.#queue(chunk);
  }

  onBodyEnd(trailers: Fields | null): void {
    if (this.#phase === 'tunnel') {
      this.#upstream?.sendEnd(null);
      this.#endDirection();
      return;
    }
    this.#body.ended = true;
    this.#body.trailers = trailers;
    if (this.#queued === null) this.#endBody();
  }

  #endBody(): void {
    this.#upstream?.sendEnd(this.#body.trailers);
    if (this.#phase === 'body') this.#awaitAnswer(this.#deps.clock.monotonic());
  }

  /**
   * Sent a turn later than it was read: what the target has said meanwhile is heard first. An answer such as 413 with a reset behind it
   * would be lost to a write that fails before.
   */
  #queue(chunk: Buffer): void {
    const queued = new Pieces();
    queued.add(chunk);
    this.#queued = queued;
    setImmediate(() => {
      if (this.#queued !== queued) return;
      this.#queued = null;
      const upstream = this.#upstream;
      if (upstream === null) return;
      let room = true;
      for (const piece of queued.list) room = upstream.sendData(piece);
      if (this.#body.ended) this.#endBody();
      else if (!room) this.#exchange.client.readBody(false);
      upstream.flush();
    });
  }

  onClientDrain(): void {
    if (this.#phase === 'relay' || this.#phase === 'tunnel') this.#touch(this.#deps.limits.streamIdleMs);
    this.#upstream?.readAnswer(true);
  }

  onClientGone(): void {
    if (this.#phase === 'over') return;
    if (this.#phase === 'tunnel') return this.#finishTunnel();
    this.#stopUpstream();
    this.#finish({ type: 'client_gone', status: this.#phase === 'relay' ? this.#status : null });
  }

  // The target's side.

  onUpstreamContinue(): void {
    if (this.#phase !== 'leave') return;
    this.#exchange.client.sendContinue();
    this.#sendBody();
  }

  onUpstreamInformational(status: number, fields: Fields): void {
    if (status === 103) this.#exchange.client.sendInformational(status, fields);
  }

  onUpstreamHead(head: AnswerHead): void {
    const { facts, client } = this.#exchange;
    const { deadlines, limits, clock } = this.#deps;
    const nowMs = clock.monotonic();
    this.#tries.answered(nowMs, head.status);
    facts.firstByteMs = nowMs - facts.startedMs;
    this.#status = head.status;
    this.#exchange.editAnswer(head);
    this.#await(head.status === 101 ? 'tunnel' : 'relay', limits.streamIdleMs);
    deadlines.add(this);
    client.sendHead(head, false);
    if (head.status === 101) {
      this.#frames = { client: new FrameTracker(), target: new FrameTracker() };
      client.readBody(true);
    } else this.#eventStream = head.fields.get('content-type')?.startsWith('text/event-stream') === true;
  }

  onUpstreamData(chunk: Buffer): void {
    this.#exchange.facts.bytesOut += chunk.length;
    this.deadlineMs = this.#deps.deadlines.now() + this.#deps.limits.streamIdleMs;
    this.#frames?.target.push(chunk);
    if (this.#goingAway) return;
    if (!this.#exchange.client.sendData(chunk)) this.#upstream?.readAnswer(false);
  }

  onUpstreamPause(): void {
    this.#exchange.client.flush();
  }

  onUpstreamEnd(trailers: Fields | null): void {
    if (this.#phase === 'tunnel') {
      this.#exchange.client.sendEnd(null);
      this.#endDirection();
      return;
    }
    const status = this.#status;
    this.#upstream = null;
    this.#cleanUp();
    this.#exchange.client.sendEnd(trailers);
    this.#exchange.onResult({ type: 'answered', status });
  }

  onUpstreamDrain(): void {
    if (this.#phase === 'body') this.#touch(this.#deps.limits.bodyIdleMs);
    if (this.#phase === 'tunnel' || !this.#body.ended) this.#exchange.client.readBody(true);
  }

  onUpstreamFailed(failure: UpstreamFailure): void {
    const { client, facts } = this.#exchange;
    const { state } = this.#tries;
    this.#upstream = null;
    // It is in the kept part of the body, or the body cannot be repeated.
    this.#queued = null;
    if (this.#phase === 'tunnel' || this.#phase === 'relay') {
      if (this.#phase === 'relay') this.#tries.failed(this.#deps.clock.monotonic());
      client.abort();
      this.#finish(this.#phase === 'tunnel' ? { type: 'upgraded' } : { type: 'cut', status: this.#status, message: failure.message });
      return;
    }
    client.readBody(false);
    const untouched = !failure.sent || failure.kind === 'refused';
    const repeatable = state !== null && failure.kind !== 'invalid' && (this.#mayRepeat || (untouched && this.#body.replayable));
    // A kept connection may end at any moment, and a shared one may be leaving: that says nothing about its target.
    const passing = failure.reused || (failure.kind === 'refused' && facts.attempts === 1);
    if (passing && repeatable) {
      this.#leaveTarget();
      // What else is idle there is as old as the connection that broke.
      this.#deps.pool.closeIdle(state.target);
      this.#givenUp = { type: 'failed', reason: 'reset', message: failure.message };
      return this.#next(state);
    }
    if (!untouched && (failure.kind === 'invalid' || !failure.reused)) this.#tries.failed(this.#deps.clock.monotonic());
    const reason = failure.kind === 'invalid' ? 'invalid_answer' : 'reset';
    const givenUp: ExchangeResult = { type: 'failed', reason, message: failure.message };
    if (repeatable) {
      this.#deps.pool.closeIdle(state.target);
      return this.#tryElsewhere(givenUp);
    }
    this.#leaveTarget();
    this.#rest(givenUp);
  }

  // Limits and ends.

  onDeadline(): void {
    const { limits } = this.#deps;
    switch (this.#phase) {
      case 'leave':
        return this.#fail('timeout', `the target did not answer within ${this.#answerMs} ms`);
      case 'answer':
        if (this.#perTry) return this.#endTry();
        return this.#fail('timeout', `the target did not answer within ${this.#answerMs} ms`);
      case 'body':
        // Who is waited for: a target that takes nothing, or a client that sends nothing.
        if (this.#exchange.client.bodyStopped)
          return this.#fail('timeout', `the target took nothing of the request body for ${limits.bodyIdleMs} ms`);
        return this.#fail('client_timeout', `the client sent nothing of its body for ${limits.bodyIdleMs} ms`);
      case 'relay':
        return this.#cut(`nothing moved for ${limits.streamIdleMs} ms`);
      case 'tunnel':
        return this.#finishTunnel();
      case 'idle':
      case 'opening':
      case 'over':
    }
  }

  /** A try has had its time. Where nobody else can take the request, it waits on for the rest of its own. */
  #endTry(): void {
    const { policy } = this.#exchange.retries();
    const nowMs = this.#deps.clock.monotonic();
    const other = this.#tries.insteadOf(this.#exchange, nowMs);
    this.#perTry = false;
    if (other === null) {
      this.deadlineMs += this.#answerMs - policy.perTryMs;
      this.#deps.deadlines.add(this);
      return;
    }
    this.#stopUpstream();
    this.#tries.failed(nowMs);
    this.#leaveTarget();
    this.#givenUp = { type: 'failed', reason: 'timeout', message: `the target did not answer within ${policy.perTryMs} ms` };
    this.#try(other, nowMs);
  }

  /** Its time is over, such as that of a target that is stopped: an event stream and a WebSocket end politely, since their readers come back. */
  close(reason = 'the target was stopped at its drain limit'): void {
    switch (this.#phase) {
      case 'tunnel':
        return this.#goAway();
      case 'relay':
        if (!this.#eventStream) return this.#cut(reason);
        this.#stopUpstream();
        this.#cleanUp();
        this.#exchange.client.sendEnd(null);
        return this.#exchange.onResult({ type: 'answered', status: this.#status });
      case 'opening':
      case 'leave':
      case 'body':
      case 'answer':
        return this.#fail('timeout', reason);
      case 'over':
      case 'idle':
    }
  }

  #goAway(): void {
    if (this.#goingAway) return;
    this.#goingAway = true;
    const { client } = this.#exchange;
    if (this.#frames?.target.atBoundary === true) client.sendData(goingAwayFrame('client'));
    client.sendEnd(null);
    if (this.#frames?.client.atBoundary === true) this.#upstream?.sendData(goingAwayFrame('target'));
    this.#upstream?.sendEnd(null);
    // Each side answers with a close frame of its own; nothing of that is passed on.
    client.readBody(true);
    this.#upstream?.readAnswer(true);
    this.#deps.clock.timer(END_MS, () => this.#finishTunnel());
  }

  #endDirection(): void {
    this.#ends += 1;
    if (this.#ends < 2) return;
    this.#upstream = null;
    this.#finish({ type: 'upgraded' });
  }

  #finishTunnel(): void {
    if (this.#phase === 'over') return;
    this.#stopUpstream();
    this.#exchange.client.abort();
    this.#finish({ type: 'upgraded' });
  }

  /** The time that the caller gives it is over; once the answer has begun, that counts no longer. */
  timeOut(message: string): void {
    if (this.#phase === 'opening' || this.#phase === 'leave' || this.#phase === 'body' || this.#phase === 'answer')
      this.#fail('timeout', message);
  }

  #fail(reason: 'timeout' | 'client_timeout' | 'too_large', message: string): void {
    this.#stopUpstream();
    if (reason === 'timeout') this.#tries.failed(this.#deps.clock.monotonic());
    this.#leaveTarget();
    this.#rest({ type: 'failed', reason, message });
  }

  #cut(message: string): void {
    this.#stopUpstream();
    this.#exchange.client.abort();
    this.#finish({ type: 'cut', status: this.#status, message });
  }

  #stopUpstream(): void {
    this.#opening?.cancel();
    this.#opening = null;
    this.#upstream?.abort();
    this.#upstream = null;
  }

  #leaveTarget(): void {
    this.#deps.open.leave(this);
    this.#tries.end(this.#deps.clock);
    this.#deps.deadlines.delete(this);
  }

  #cleanUp(): void {
    this.#phase = 'over';
    this.#leaveTarget();
  }

  /** Ends for good. */
  #finish(result: ExchangeResult): void {
    this.#cleanUp();
    this.#exchange.onResult(result);
  }

  /** Ends with nothing said to the client, which may be there still. */
  #rest(result: ExchangeResult): void {
    this.#phase = 'idle';
    this.#exchange.onResult(result);
  }
}

const NO_TARGET: ExchangeResult = { type: 'no_target', reason: 'none' };
const BUSY: ExchangeResult = { type: 'no_target', reason: 'busy' };
