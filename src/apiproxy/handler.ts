// One call through the API Proxy: who calls, which Service, whether it may; then a target, and the answer back.

import type { Clock } from '../lib/clock.ts';
import type { Groups, LiveGroup } from '../dataplane/groups.ts';
import { markSession } from '../dataplane/session-choice.ts';
import type { SessionCaller } from '../dataplane/session-calls.ts';
import { SessionTry } from '../dataplane/session-try.ts';
import type { Identify, Identity } from '../dataplane/identity.ts';
import type { VersionCounts } from '../dataplane/version-counts.ts';
import type { RequestFacts, VersionChoice, Versions } from '../dataplane/versions.ts';
import { canonicalTarget } from '../model/request-target.ts';
import type { Tried } from '../proxy/balance.ts';
import type { Exchange, ExchangeFacts, ExchangeResult, Retries } from '../proxy/exchange.ts';
import { Fields, knownField } from '../proxy/fields.ts';
import { Forwarding } from '../proxy/forward.ts';
import type { ForwardDeps } from '../proxy/forward.ts';
import type { AnswerHead, ClientObserver, ClientStream, UpstreamRequest } from '../proxy/message.ts';
import { RetryBudget } from '../proxy/retry-budget.ts';
import type { PickFacts } from '../proxy/target-group.ts';
import type { TargetState } from '../proxy/target-state.ts';
import { answerProblem, refusalOf } from './answer.ts';
import type { Bulkhead } from './bulkhead.ts';
import type { Decide, Decision, Refusal, Way } from './pipeline.ts';
import type { CallRecorder } from './recorder.ts';

export interface CallHandlerDeps {
  readonly forwarding: ForwardDeps;
  readonly groups: Groups;
  readonly versions: Versions;
  readonly versionCounts: VersionCounts;
  readonly identify: Identify;
  readonly decide: Decide;
  readonly bulkhead: Bulkhead;
  readonly recorder: CallRecorder;
  readonly clock: Clock;
}

/** How a caller says who it is. */
const IDENTITY = 'x-libra-identity';
const CALLER = knownField('X-Libra-Caller');
const CALLER_INSTANCE = knownField('X-Libra-Caller-Instance');
const REQUEST_ID = knownField('X-Request-Id');

const NOBODY: ClientObserver = {
  onBody: () => undefined,
  onBodyEnd: () => undefined,
  onClientDrain: () => undefined,
  onClientGone: () => undefined,
};
const NO_RETRIES: Retries = { policy: { attempts: 1, budgetPercent: 0, perTryMs: 0, unsafe: false }, budget: new RetryBudget(0) };
const HERE: ExchangeResult = { type: 'no_target', reason: 'none' };
const WAITED: ExchangeResult = { type: 'no_target', reason: 'waited' };

/** What a connection says of who calls. */
export interface KnownCaller {
  /** Of an Instance; null: the request has to bring it. */
  readonly token: string | null;
  /** null: no laptop's program calls. */
  readonly session: SessionCaller | null;
}

/** Of a connection that says nothing. */
export const UNKNOWN_CALLER: KnownCaller = { token: null, session: null };

export type CallHandler = (client: ClientStream, known: KnownCaller) => void;

export function createCallHandler(deps: CallHandlerDeps): CallHandler {
  return (client, known) => new Call(deps, client, known).start();
}

class Call implements Exchange, PickFacts, RequestFacts {
  readonly client: ClientStream;
  readonly request: UpstreamRequest;
  readonly facts: ExchangeFacts;
  readonly bodyBytes = Infinity;
  readonly #deps: CallHandlerDeps;
  readonly #atMs: number;
  readonly #identity: Identity;
  readonly #decision: Decision;
  #live: LiveGroup | null;
  #version: VersionChoice | null = null;
  /** Null: no laptop calls, or stands in for anything. */
  readonly #session: SessionTry | null;
  /** A failed try of this target is counted already. */
  #counted: string | null = null;
  #forwarding: Forwarding | null = null;
  #waiting: AbortController | null = null;
  #entered = false;

  constructor(deps: CallHandlerDeps, client: ClientStream, { token, session }: KnownCaller) {
    const { clock } = deps;
    const { head, connection } = client;
    this.#deps = deps;
    this.client = client;
    this.#atMs = clock.now();
    this.facts = {
      startedMs: clock.monotonic(),
      attempts: 0,
      target: null,
      waitMs: 0,
      connectMs: null,
      firstByteMs: null,
      bytesIn: 0,
      bytesOut: 0,
    };
    const target = canonicalTarget(head.method, head.target, head.host);
    this.#identity = deps.identify(client, target.type === 'bad' ? '' : target.authority);
    this.#decision =
      target.type === 'bad'
        ? { type: 'refused', refusal: badRequest(target.why), caller: null, service: null }
        : deps.decide(target, head.method, head.fields.get(IDENTITY) ?? token ?? undefined, session);
    const way = this.#decision.type === 'way' ? this.#decision.way : null;
    this.#live = way?.live ?? null;
    const query = target.type === 'bad' ? '' : target.query;
    this.request = {
      method: head.method,
      path: way === null ? (target.type === 'bad' ? '' : target.path) : way.path + query,
      authority: way?.authority ?? (target.type === 'bad' ? '' : target.authority),
      scheme: connection.scheme,
      fields: way?.isPlatform === true ? asInstance(head.fields, way) : head.fields,
      origin: this.#identity.origin,
      length: head.length,
      upgrade: head.upgrade,
      expectsContinue: head.expectsContinue,
      takesTrailers: head.takesTrailers,
    };
    const isOfSession = session !== null || deps.groups.haveSessions;
    this.#session = way !== null && isOfSession ? new SessionTry(markSession(session?.key, this, this.#identity.origin)) : null;
    if (way === null) return;
    const { app, environment, entrypoint, instanceId } = way.caller;
    this.#identity.origin.push(CALLER, `${app}/${environment}/${entrypoint}`);
    this.#identity.origin.push(CALLER_INSTANCE, instanceId);
  }

  start(): void {
    if (this.#decision.type === 'refused') return this.#refuse(this.#decision.refusal);
    const { caller } = this.#decision.way;
    this.#entered = this.#deps.bulkhead.enter(partyOf(caller));
    if (!this.#entered) {
      return this.#refuse({
        status: 429,
        code: 'rate_limited',
        detail: `${partyOf(caller)} has as many calls open at this API Proxy as one Environment may.`,
        hint: 'Wait for some of them, or call from further Nodes.',
        retryAfterSeconds: 1,
      });
    }
    this.#forwarding = new Forwarding(this.#deps.forwarding, this);
    this.#forwarding.start();
  }

  get address(): string {
    return this.#identity.client.address;
  }

  get secure(): boolean {
    return this.client.connection.scheme === 'https';
  }

  header(name: string): string | undefined {
    return this.client.head.fields.combined(name);
  }

  next(tried: Tried): TargetState | 'busy' | null {
    const live = this.#live;
    if (live === null) return null;
    const { group } = live;
    const { target } = this.facts;
    if (target !== null && tried !== null && this.#counted !== target.id) {
      this.#deps.versionCounts.observe(group.id, target.id, true, null);
      this.#counted = target.id;
    }
    const laptop = this.#session?.next(live, this, tried) ?? null;
    if (laptop !== null) return laptop;
    if (group.split !== undefined) this.#version ??= this.#deps.versions.of(this);
    return live.pick(this, tried, this.#version ?? undefined);
  }

  retries(): Retries {
    return this.#session?.retries ?? this.#live?.targets.retries ?? NO_RETRIES;
  }

  editAnswer({ fields }: AnswerHead): void {
    if (!fields.has('x-request-id')) fields.push(REQUEST_ID, this.#identity.requestId);
  }

  onResult(result: ExchangeResult): void {
    const live = this.#live;
    if (this.#decision.type !== 'way' || live === null) return;
    if (this.#waiting !== null) {
      // Only the caller can end it while it waits for the group.
      this.#waiting.abort();
      this.#waiting = null;
    } else if (result.type === 'no_target' && result.reason === 'none' && live.group.state === 'starting') {
      void this.#wait(live);
      return;
    }
    this.#end(result, refusalOf(result, this.#decision.way));
  }

  /** Until the group has a target. */
  async #wait(live: LiveGroup): Promise<void> {
    const { clock, groups } = this.#deps;
    const waiting = new AbortController();
    this.#waiting = waiting;
    const sinceMs = clock.monotonic();
    const again = await groups.wait(live.group.id, waiting.signal);
    this.facts.waitMs += clock.monotonic() - sinceMs;
    if (waiting.signal.aborted) return;
    this.#waiting = null;
    if (!again) return this.onResult(WAITED);
    this.#live = groups.get(live.group.id) ?? live;
    this.#forwarding?.start();
  }

  #refuse(refusal: Refusal): void {
    this.client.observe(NOBODY);
    this.#end(HERE, refusal);
  }

  #end(result: ExchangeResult, refusal: Refusal | null): void {
    const { recorder, bulkhead, clock, versionCounts } = this.#deps;
    const { requestId } = this.#identity;
    const decision = this.#decision;
    const way = decision.type === 'way' ? decision.way : null;
    if (way !== null && this.#entered) bulkhead.leave(partyOf(way.caller));
    const status = refusal === null ? statusOf(result) : answerProblem(this.client, refusal, requestId);
    const durationMs = clock.monotonic() - this.facts.startedMs;
    const { target, firstByteMs, connectMs } = this.facts;
    if (way !== null && target !== null && target.id !== this.#counted && result.type === 'answered') {
      const latencyMs = firstByteMs === null ? null : firstByteMs - (connectMs ?? 0);
      versionCounts.observe(way.live.group.id, target.id, result.status >= 500, latencyMs);
    }
    recorder.record({
      exchange: this,
      identity: this.#identity,
      caller: decision.type === 'way' ? decision.way.caller : decision.caller,
      service: decision.type === 'way' ? decision.way.service : decision.service,
      environment: way?.environment ?? null,
      result,
      status,
      reason: refusal === null ? (result.type === 'cut' ? result.message : null) : refusal.detail,
      atMs: this.#atMs,
      durationMs,
    });
  }
}

const partyOf = ({ app, environment }: Way['caller']): string => `${app}/${environment}`;

const badRequest = (why: string): Refusal => ({
  status: 400,
  code: 'invalid_input',
  detail: `${why}.`,
  hint: 'Ask for /<app>.<service>/…, or for the host <service>.<app>.libra.',
});

/** With the caller's own credential in place of any other. */
function asInstance(fields: Fields, { caller }: Way): Fields {
  const made = new Fields();
  for (const [name, value] of fields.pairs()) if (name.toLowerCase() !== 'authorization') made.add(name, value);
  made.add('Authorization', `Bearer ${caller.token}`);
  return made;
}

function statusOf(result: ExchangeResult): number | null {
  switch (result.type) {
    case 'answered':
    case 'cut':
    case 'client_gone':
      return result.status;
    case 'upgraded':
      return 101;
    case 'no_target':
    case 'failed':
      return null;
  }
}
