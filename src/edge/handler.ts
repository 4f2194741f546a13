// One request through the Edge: which Route, which target, or which page; then its line in the access log and its numbers.

import type { RouteGroup, RouteRule } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import type { AppPages } from '../model/app-pages.ts';
import { findRoute } from '../model/asked.ts';
import { canonicalTarget } from '../model/request-target.ts';
import type { CanonicalTarget } from '../model/request-target.ts';
import type { Tried } from '../proxy/balance.ts';
import type { Exchange, ExchangeFacts, ExchangeResult, Retries } from '../proxy/exchange.ts';
import { Fields, knownField } from '../proxy/fields.ts';
import { Forwarding } from '../proxy/forward.ts';
import type { ForwardDeps } from '../proxy/forward.ts';
import type { AnswerHead, ClientObserver, ClientStream, RequestHead, UpstreamRequest } from '../proxy/message.ts';
import { RetryBudget } from '../proxy/retry-budget.ts';
import type { PickFacts } from '../proxy/target-group.ts';
import type { TargetState } from '../proxy/target-state.ts';
import type { Groups, LiveGroup } from '../dataplane/groups.ts';
import type { Holds } from './holds.ts';
import type { Identify, Identity } from '../dataplane/identity.ts';
import { renderPage } from './pages/page.ts';
import type { Situation } from './pages/situation.ts';
import type { CompiledPolicy, PolicyAnswer, PolicyPass, RoutePolicies } from './policy/route-policies.ts';
import type { RateState } from './policy/rate-limit.ts';
import type { Recorder } from './recorder.ts';
import type { Routing } from './routing.ts';
import type { Gateway } from '../dataplane/gateway.ts';
import { markSession } from '../dataplane/session-choice.ts';
import { SessionTry } from '../dataplane/session-try.ts';
import type { VersionCounts } from '../dataplane/version-counts.ts';
import type { RequestFacts, VersionChoice, Versions } from '../dataplane/versions.ts';

export interface HandlerDeps {
  readonly forwarding: ForwardDeps;
  readonly routing: Routing;
  readonly groups: Groups;
  readonly identify: Identify;
  readonly recorder: Recorder;
  readonly clock: Clock;
  readonly versions: Versions;
  readonly holds: Holds;
  readonly versionCounts: VersionCounts;
  readonly policies: RoutePolicies;
  readonly gateway: Pick<Gateway, 'take'>;
}

/** RFC 8555 §8.3. */
const CHALLENGE_PATH = '/.well-known/acme-challenge/';
const REQUEST_ID = knownField('X-Request-Id');

/** Takes an exchange as it comes and sees it to its end. */
export type Handler = (client: ClientStream) => void;

interface Found {
  readonly type: 'group';
  readonly live: LiveGroup;
  readonly rule: RouteRule;
}

/** Of an exchange that is answered here: whatever the client does changes nothing more. */
const NOBODY: ClientObserver = {
  onBody: () => undefined,
  onBodyEnd: () => undefined,
  onClientDrain: () => undefined,
  onClientGone: () => undefined,
};

export function createHandler(deps: HandlerDeps): Handler {
  return (client) => {
    if (client.head.ownProtocol !== undefined) return deps.gateway.take(client);
    const handling = new Handling(deps, client);
    handling.start();
  };
}

/** One request from its head to its line in the log. A class, since a closure for each of its parts would cost more than the request. */
class Handling implements Exchange, PickFacts, RequestFacts {
  readonly client: ClientStream;
  readonly request: UpstreamRequest;
  readonly facts: ExchangeFacts;
  readonly bodyBytes: number;
  readonly #deps: HandlerDeps;
  readonly #atMs: number;
  readonly #identity: Identity;
  #found: Found | Situation;
  #version: VersionChoice | null = null;
  /** Of the latest try. */
  #state: TargetState | null = null;
  /** A failed try of this target is counted already. */
  #counted: string | null = null;
  #forwarding: Forwarding | null = null;
  #waiting: AbortController | null = null;
  /** Of its Route; null: it has none. */
  readonly #policy: CompiledPolicy | null;
  /** Null: no laptop stands in for anything. */
  readonly #session: SessionTry | null;
  #rate: RateState | null = null;
  #cancelTimeout: (() => void) | null = null;
  #cancelTotal: (() => void) | null = null;

  constructor(deps: HandlerDeps, client: ClientStream) {
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
    const authority = target.type === 'bad' ? '' : target.authority;
    this.#identity = deps.identify(client, authority);
    this.#found =
      target.type === 'bad' ? { type: 'bad_request', why: target.why } : find(deps, target, head, this.#identity.client.address);
    this.#session =
      deps.groups.haveSessions && this.#found.type === 'group'
        ? new SessionTry(markSession(this.#found.rule.session, this, this.#identity.origin))
        : null;
    const policy = this.#found.type === 'group' ? deps.policies.of(this.#found.rule) : null;
    this.#policy = policy;
    this.bodyBytes = policy?.bodyBytes ?? Infinity;
    let path = target.type === 'bad' ? '' : target.path;
    if (policy !== null) {
      const rewritten = policy.path(path);
      if (rewritten === null) this.#found = { type: 'bad_request', why: 'what the Route makes of the path is no path' };
      path = rewritten ?? '';
      const certificate = policy.certificateOf(connection.tls);
      if (certificate !== null) this.#identity.origin.set('Client-Cert', `:${certificate.raw.toString('base64')}:`);
    }
    this.request = {
      method: head.method,
      path: target.type === 'bad' ? '' : path + target.query,
      authority: policy?.host ?? authority,
      scheme: connection.scheme,
      fields: policy === null ? head.fields : policy.requestFields(head.fields),
      origin: this.#identity.origin,
      length: head.length,
      upgrade: head.upgrade,
      expectsContinue: head.expectsContinue,
      takesTrailers: head.takesTrailers,
    };
  }

  start(): void {
    if (this.#found.type === 'group') {
      this.#forwarding = new Forwarding(this.#deps.forwarding, this);
      if (this.#policy === null) this.#begin(this.#found.live);
      else this.#check(this.#policy, this.#found.live);
    } else {
      this.client.observe(NOBODY);
      this.#end({ type: 'no_target', reason: 'none' }, this.#found);
    }
  }

  get address(): string {
    return this.#identity.client.address;
  }

  get secure(): boolean {
    return this.#identity.client.scheme === 'https';
  }

  header(name: string): string | undefined {
    return this.client.head.fields.combined(name);
  }

  /** Asks the policy of the Route. */
  #check(policy: CompiledPolicy, live: LiveGroup): void {
    const { head } = this.client;
    // Canonical by now: only what was could be found.
    const target = canonicalTarget(head.method, head.target, head.host);
    if (target.type === 'bad') return;
    const pass = policy.check({
      method: head.method,
      scheme: this.#identity.client.scheme,
      authority: target.authority,
      path: target.path,
      query: target.query,
      address: this.address,
      tls: this.client.connection.tls,
      field: (lower) => head.fields.combined(lower),
      length: head.length,
    });
    if (!(pass instanceof Promise)) return this.#pass(pass, policy, live);
    const waiting = new AbortController();
    this.#waiting = waiting;
    pass.then(
      (known) => {
        if (waiting.signal.aborted) return;
        this.#waiting = null;
        this.#pass(known, policy, live);
      },
      () => {
        // What cannot be checked is not let in.
        if (waiting.signal.aborted) return;
        this.#waiting = null;
        const { app, environment } = live.group;
        this.#end(HERE, { type: 'busy', app, environment });
      },
    );
  }

  #pass({ answer, rate }: PolicyPass, policy: CompiledPolicy, live: LiveGroup): void {
    this.#rate = rate;
    if (answer !== null) {
      this.#end(HERE, answer.situation, answer);
      return;
    }
    const { timeoutMs, totalTimeoutMs } = policy;
    const { clock } = this.#deps;
    if (timeoutMs !== null) this.#cancelTimeout = clock.timer(timeoutMs, () => this.#timeOut(`the Route gives it ${timeoutMs} ms`, false));
    if (totalTimeoutMs !== null)
      this.#cancelTotal = clock.timer(totalTimeoutMs, () => this.#timeOut(`the Route gives it ${totalTimeoutMs} ms in all`, true));
    this.#begin(live);
  }

  #timeOut(message: string, inAll: boolean): void {
    if (this.#waiting === null) return inAll ? this.#forwarding?.close(message) : this.#forwarding?.timeOut(message);
    this.#waiting.abort();
    this.#waiting = null;
    if (this.#found.type !== 'group') return;
    const { app, environment } = this.#found.live.group;
    this.#end({ type: 'failed', reason: 'timeout', message }, { type: 'timeout', app, environment });
  }

  #begin(live: LiveGroup): void {
    if (this.#deps.holds.isHeld(live.group.id)) void this.#hold(live);
    else this.#forwarding?.start();
  }

  /** After a wait: a group that was taken away and came back meanwhile is another one. */
  #beginAgain(before: LiveGroup): void {
    const live = this.#deps.groups.get(before.group.id) ?? before;
    if (this.#found.type === 'group') this.#found = { ...this.#found, live };
    this.#begin(live);
  }

  /** Until the pause of its App ends. */
  async #hold(live: LiveGroup): Promise<void> {
    const waiting = new AbortController();
    this.#waiting = waiting;
    const flow = await this.#timed(this.#deps.holds.wait(live.group.id, waiting.signal));
    if (waiting.signal.aborted) return;
    this.#waiting = null;
    if (flow) return this.#beginAgain(live);
    const { app, environment, state } = live.group;
    this.#end({ type: 'no_target', reason: 'none' }, { type: state === 'stopped' ? 'stopped' : 'paused', app, environment });
  }

  next(tried: Tried): TargetState | 'busy' | null {
    if (this.#found.type !== 'group') return null;
    const { live } = this.#found;
    const { group } = live;
    const { target } = this.facts;
    // The try before has failed, although the request may yet be answered.
    if (target !== null && tried !== null && this.#counted !== target.id) {
      this.#deps.versionCounts.observe(group.id, target.id, true, null);
      this.#counted = target.id;
    }
    const laptop = this.#session?.next(live, this, tried) ?? null;
    if (laptop !== null) {
      this.#state = laptop;
      return laptop;
    }
    if (group.split !== undefined) this.#version ??= this.#deps.versions.of(this);
    const picked = live.pick(this, tried, this.#version ?? undefined);
    if (picked !== null && picked !== 'busy') this.#state = picked;
    return picked;
  }

  retries(): Retries {
    if (this.#found.type !== 'group') return NO_RETRIES;
    const atLaptop = this.#session?.retries ?? null;
    if (atLaptop !== null) return atLaptop;
    const { retries } = this.#found.live.targets;
    const own = this.#policy?.retries ?? null;
    return own === null ? retries : { policy: own, budget: retries.budget };
  }

  editAnswer({ fields }: AnswerHead): void {
    if (!fields.has('x-request-id')) fields.push(REQUEST_ID, this.#identity.requestId);
    this.#policy?.answerFields(fields, this.#origin, this.#rate);
    const cookie = this.#version?.setCookie() ?? null;
    if (cookie !== null) fields.add('Set-Cookie', cookie);
    if (this.#session?.atLaptop === true) {
      // What a developer's program says is nothing for later, or for others.
      fields.set('Cache-Control', 'no-store');
      return;
    }
    if (this.#found.type !== 'group' || this.#state === null) return;
    const sticky = this.#found.live.targets.stickyCookie(this.#state, this);
    if (sticky !== null) fields.add('Set-Cookie', sticky);
  }

  get #origin(): string | undefined {
    return this.client.head.fields.get('origin');
  }

  onResult(result: ExchangeResult): void {
    if (this.#found.type !== 'group') return;
    const { live } = this.#found;
    if (this.#waiting !== null) {
      // Only the client can end it while it waits for the group.
      this.#waiting.abort();
      this.#waiting = null;
    } else if (result.type === 'no_target' && result.reason === 'none' && live.group.state === 'starting') {
      void this.#wait(live);
      return;
    }
    this.#end(result, situationOf(result, live.group, this.bodyBytes));
  }

  /** Until the group has a target. */
  async #wait(live: LiveGroup): Promise<void> {
    const waiting = new AbortController();
    this.#waiting = waiting;
    const again = await this.#timed(this.#deps.groups.wait(live.group.id, waiting.signal));
    if (waiting.signal.aborted) return;
    this.#waiting = null;
    if (again) this.#beginAgain(live);
    else this.onResult(WAITED);
  }

  /** Counts as time in a queue. */
  async #timed(wait: Promise<boolean>): Promise<boolean> {
    const { clock } = this.#deps;
    const sinceMs = clock.monotonic();
    const result = await wait;
    this.facts.waitMs += clock.monotonic() - sinceMs;
    return result;
  }

  #count(groupId: string, result: ExchangeResult, durationMs: number): void {
    const { target, firstByteMs, connectMs } = this.facts;
    const failed = isFailed(result);
    if (target === null || target.id === this.#counted || failed === null) return;
    const answeredMs = firstByteMs ?? (failed ? durationMs : null);
    const latencyMs = answeredMs === null || result.type === 'upgraded' ? null : answeredMs - (connectMs ?? 0);
    this.#deps.versionCounts.observe(groupId, target.id, failed, latencyMs);
  }

  /** @param answer of a policy. */
  #end(result: ExchangeResult, page: Situation | null, answer?: PolicyAnswer): void {
    this.#cancelTimeout?.();
    this.#cancelTotal?.();
    const edit = (fields: Fields): void => {
      if (answer !== undefined) for (const [name, value] of answer.fields.pairs()) fields.add(name, value);
      if (answer?.isWhole !== true) this.#policy?.answerFields(fields, this.#origin, this.#rate);
    };
    const { requestId } = this.#identity;
    const status =
      page !== null
        ? answerPage(this.client, page, requestId, edit, this.#found.type === 'group' ? this.#found.live.group.pages : undefined)
        : answer === undefined
          ? statusOf(result)
          : answerBare(this.client, answer.status, requestId, edit);
    const durationMs = this.#deps.clock.monotonic() - this.facts.startedMs;
    const found = this.#found.type === 'group' ? { rule: this.#found.rule, group: this.#found.live.group } : null;
    if (found !== null) this.#count(found.group.id, result, durationMs);
    this.#deps.recorder.record({
      exchange: this,
      identity: this.#identity,
      found,
      result,
      status,
      reason: reasonOf(result, page),
      atMs: this.#atMs,
      durationMs,
    });
  }
}

function find({ routing, groups }: HandlerDeps, target: CanonicalTarget, head: RequestHead, address: string): Found | Situation {
  const table = routing.table();
  if (table === null) return { type: 'no_table' };
  const { host, path } = target;
  const keyAuthorization = path.startsWith(CHALLENGE_PATH) ? routing.challenge(path.slice(CHALLENGE_PATH.length)) : null;
  // Before every Route: whoever orders a certificate for a host that leads here has to be believed that it does.
  if (keyAuthorization !== null) return { type: 'challenge', keyAuthorization };
  const found = findRoute(table, head.method, target, (lower) => head.fields.combined(lower), address);
  switch (found.type) {
    case 'found': {
      const live = groups.get(found.rule.group);
      return live === null ? { type: 'no_host', host } : { type: 'group', live, rule: found.rule };
    }
    case 'ambiguous':
      return { type: 'bad_request', why: 'an encoded slash in the path makes it unclear which Route is meant' };
    case 'no_path':
      return { type: 'no_path', host, path };
    case 'no_host':
      return { type: 'no_host', host };
  }
}

/** Ends the wait for a group, so that it is not waited for again. */
const WAITED: ExchangeResult = { type: 'no_target', reason: 'waited' };
/** Of what is not forwarded at all. */
const NO_RETRIES: Retries = { policy: { attempts: 1, budgetPercent: 0, perTryMs: 0, unsafe: false }, budget: new RetryBudget(0) };

/** Of what a Route answers itself. */
const HERE: ExchangeResult = { type: 'no_target', reason: 'none' };

/** An answer without a body. */
function answerBare(client: ClientStream, status: number, requestId: string, edit: (fields: Fields) => void): number {
  const fields = Fields.of('X-Request-Id', requestId);
  edit(fields);
  client.sendHead({ status, reason: '', fields, length: 0 }, false);
  client.sendEnd(null);
  return status;
}

function answerPage(
  client: ClientStream,
  situation: Situation,
  requestId: string,
  edit: (fields: Fields) => void,
  pages: AppPages = {},
): number {
  const page = renderPage(situation, client.head.fields.get('accept'), requestId, pages);
  const body = Buffer.from(page.body);
  const fields = Fields.of(...Object.entries(page.headers).flat(), 'X-Request-Id', requestId);
  edit(fields);
  const head: AnswerHead = { status: page.status, reason: '', fields, length: body.length };
  // What is left of a body that stopped arriving would be taken for the next request.
  client.sendHead(head, situation.type === 'client_timeout');
  if (client.head.method !== 'HEAD') client.sendData(body);
  client.sendEnd(null);
  return page.status;
}

function situationOf(result: ExchangeResult, group: RouteGroup, bodyBytes: number): Situation | null {
  const { app, environment } = group;
  switch (result.type) {
    case 'answered':
    case 'upgraded':
    case 'cut':
    case 'client_gone':
      return null;
    case 'no_target':
      if (result.reason === 'busy') return { type: 'busy', app, environment };
      if (result.reason === 'refused') return { type: 'refused', app, environment };
      if (group.state === 'stopped') return { type: 'stopped', app, environment };
      if (group.state === 'starting') return { type: 'starting', app, environment };
      return { type: 'no_instance', app, environment };
    case 'failed':
      if (result.reason === 'client_timeout') return { type: 'client_timeout' };
      if (result.reason === 'too_large') return { type: 'too_large', bytes: bodyBytes };
      return { type: result.reason === 'timeout' ? 'timeout' : 'broken', app, environment };
  }
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

function reasonOf(result: ExchangeResult, page: Situation | null): string | null {
  if (result.type === 'failed' || result.type === 'cut') return result.message;
  if (result.type === 'no_target' && result.reason === 'refused') return result.message;
  if (page?.type === 'client_certificate' && page.problem !== null) return `${page.type} ${page.problem}`;
  return page === null ? null : page.type;
}

/** Whether the target failed; null where that cannot be said. */
function isFailed(result: ExchangeResult): boolean | null {
  switch (result.type) {
    case 'answered':
      return result.status >= 500;
    case 'upgraded':
      return false;
    case 'cut':
      return true;
    case 'failed':
      return result.reason === 'client_timeout' || result.reason === 'too_large' ? null : true;
    case 'no_target':
    case 'client_gone':
      return null;
  }
}
