// One request through the Edge: which Route, which target, or which page; then its line in the access log and its numbers.

import type { RouteGroup } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import { newId } from '../lib/id.ts';
import { canonicalTarget } from '../model/request-target.ts';
import type { CanonicalTarget } from '../model/request-target.ts';
import type { AccessLog } from '../proxy/access-log.ts';
import type { Exchange, ExchangeResult } from '../proxy/exchange.ts';
import { Fields } from '../proxy/fields.ts';
import { Forwarding } from '../proxy/forward.ts';
import type { ForwardDeps } from '../proxy/forward.ts';
import type { AnswerHead, ClientObserver, ClientStream, RequestHead } from '../proxy/message.ts';
import type { Groups } from './groups.ts';
import type { Holds } from './holds.ts';
import { NO_ROUTE } from './metrics.ts';
import type { EdgeMetrics, Labels } from './metrics.ts';
import { renderPage } from './pages/page.ts';
import type { Situation } from './pages/situation.ts';
import type { Routing } from './routing.ts';
import type { VersionCounts } from './version-counts.ts';
import type { Versions } from './versions.ts';

export interface HandlerDeps {
  readonly forwarding: ForwardDeps;
  readonly routing: Routing;
  readonly groups: Groups;
  readonly metrics: EdgeMetrics;
  readonly accessLog: AccessLog;
  readonly clock: Clock;
  readonly versions: Versions;
  readonly versionCounts: VersionCounts;
  readonly holds: Holds;
}

/** Takes an exchange as it comes and sees it to its end. */
export type Handler = (client: ClientStream) => void;

interface Found {
  readonly type: 'group';
  readonly group: RouteGroup;
  readonly route: string;
}

/** Of an exchange that is answered here: whatever the client does changes nothing more. */
const NOBODY: ClientObserver = {
  onBody: () => undefined,
  onBodyEnd: () => undefined,
  onClientDrain: () => undefined,
  onClientGone: () => undefined,
};

export function createHandler(deps: HandlerDeps): Handler {
  const { routing, groups, metrics, accessLog, clock, versions, versionCounts, holds } = deps;

  const find = ({ host, path, decodedPath }: CanonicalTarget, head: RequestHead): Found | Situation => {
    const table = routing.table();
    if (table === null) return { type: 'no_table' };
    const header = (name: string): string | undefined => head.fields.combined(name);
    const rule = table.match({ host, path: path === '*' ? '/' : path, header });
    // A target that decodes the slash would serve what another Route guards.
    if (decodedPath !== null && table.match({ host, path: decodedPath, header }) !== rule) {
      return { type: 'bad_request', why: 'an encoded slash in the path makes it unclear which Route is meant' };
    }
    if (rule === null) return table.knowsHost(host) ? { type: 'no_path', host, path } : { type: 'no_host', host };
    const live = groups.get(rule.group);
    return live === null ? { type: 'no_host', host } : { type: 'group', group: live.group, route: `${rule.host}${rule.path}` };
  };

  return (client) => {
    const startedMs = clock.monotonic();
    const atMs = clock.now();
    const { head, connection } = client;
    const target = canonicalTarget(head.method, head.target, head.host);
    const requestId = requestIdOf(head);
    const found = target.type === 'bad' ? ({ type: 'bad_request', why: target.why } as const) : find(target, head);
    const groupId = found.type === 'group' ? found.group.id : '';
    const version = versions.of({ address: connection.address, header: (name) => head.fields.combined(name) });
    const authority = target.type === 'bad' ? '' : target.authority;
    let counted: string | null = null;
    const exchange: Exchange = {
      client,
      request: {
        method: head.method,
        path: target.type === 'bad' ? '' : target.path + target.query,
        authority,
        scheme: connection.scheme,
        fields: head.fields,
        origin: Fields.of(
          'X-Forwarded-For',
          connection.address,
          'X-Forwarded-Proto',
          connection.scheme,
          'X-Forwarded-Host',
          authority,
          'X-Request-Id',
          requestId,
        ),
        length: head.length,
        upgrade: head.upgrade,
        expectsContinue: head.expectsContinue,
        takesTrailers: head.takesTrailers,
      },
      next: (tried) => {
        const { target } = exchange.facts;
        // The try before has failed, although the request may yet be answered.
        if (target !== null && tried.has(target.id)) {
          versionCounts.observe(groupId, target.id, true, null);
          counted = target.id;
        }
        return groups.next(groupId, tried, version);
      },
      editAnswer: (answer) => {
        if (!answer.fields.has('x-request-id')) answer.fields.add('X-Request-Id', requestId);
        const cookie = version.setCookie();
        if (cookie !== null) answer.fields.add('Set-Cookie', cookie);
        return answer;
      },
      facts: { startedMs, attempts: 0, target: null, connectMs: null, firstByteMs: null, bytesIn: 0, bytesOut: 0 },
    };

    const record = (result: ExchangeResult, page: Situation | null, status: number | null): void => {
      const durationMs = clock.monotonic() - startedMs;
      const labels: Labels = found.type === 'group' ? found.group : NO_ROUTE;
      const { facts } = exchange;
      if (facts.target !== null && facts.target.id !== counted) {
        const failed = isFailed(result);
        const answeredMs = facts.firstByteMs ?? (failed === true ? durationMs : null);
        const latencyMs = answeredMs === null ? null : answeredMs - (facts.connectMs ?? 0);
        if (failed !== null) versionCounts.observe(groupId, facts.target.id, failed, result.type === 'upgraded' ? null : latencyMs);
      }
      metrics.observe({
        labels,
        status,
        durationMs,
        attempts: facts.attempts,
        failed: result.type === 'failed' || result.type === 'cut' || (result.type === 'no_target' && result.reason === 'refused'),
        bytesIn: facts.bytesIn,
        bytesOut: facts.bytesOut,
      });
      accessLog.write({
        atMs,
        durationMs,
        status,
        exchange,
        requestId,
        result: result.type,
        reason: reasonOf(result, page),
        labels:
          found.type === 'group'
            ? { route: found.route, app: labels.app, environment: labels.environment, entrypoint: labels.entrypoint }
            : {},
      });
    };
    const end = (result: ExchangeResult, page: Situation | null): void => {
      if (page === null) record(result, null, statusOf(result));
      else {
        const status = answerPage(client, page, requestId);
        record(result, page, status);
      }
    };

    if (found.type !== 'group') {
      client.observe(NOBODY);
      end({ type: 'no_target', reason: 'none' }, found);
      return;
    }
    let stopWaiting: AbortController | null = null;
    const forwarding = new Forwarding(deps.forwarding, exchange, (result) => {
      const group = groups.get(found.group.id)?.group ?? found.group;
      if (stopWaiting !== null) {
        // Only the client can end it while it waits for the group.
        stopWaiting.abort();
        stopWaiting = null;
      } else if (result.type === 'no_target' && result.reason === 'none' && group.state === 'starting') {
        const waiting = new AbortController();
        stopWaiting = waiting;
        void groups.wait(group.id, waiting.signal).then((again) => {
          if (waiting.signal.aborted) return;
          stopWaiting = null;
          if (again) begin();
          else end(result, situationOf(result, groups.get(found.group.id)?.group ?? found.group));
        });
        return;
      }
      end(result, situationOf(result, group));
    });
    const begin = (): void => {
      if (!holds.isHeld(groupId)) return forwarding.start();
      const waiting = new AbortController();
      stopWaiting = waiting;
      void holds.wait(groupId, waiting.signal).then((flow) => {
        if (waiting.signal.aborted) return;
        stopWaiting = null;
        if (flow) return begin();
        const { app, environment, state } = groups.get(groupId)?.group ?? found.group;
        end({ type: 'no_target', reason: 'none' }, { type: state === 'stopped' ? 'stopped' : 'paused', app, environment });
      });
    };
    begin();
  };
}

function answerPage(client: ClientStream, situation: Situation, requestId: string): number {
  const page = renderPage(situation, client.head.fields.get('accept'), requestId);
  const body = Buffer.from(page.body);
  const fields = Fields.of(...Object.entries(page.headers).flat(), 'X-Request-Id', requestId);
  const head: AnswerHead = { status: page.status, reason: '', fields, length: body.length };
  // What is left of a body that stopped arriving would be taken for the next request.
  client.sendHead(head, situation.type === 'client_timeout');
  if (client.head.method !== 'HEAD') client.sendData(body);
  client.sendEnd(null);
  return page.status;
}

function situationOf(result: ExchangeResult, group: RouteGroup): Situation | null {
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
      return result.reason === 'client_timeout' ? null : true;
    case 'no_target':
    case 'client_gone':
      return null;
  }
}

function reasonOf(result: ExchangeResult, page: Situation | null): string | null {
  if (result.type === 'failed' || result.type === 'cut') return result.message;
  return page === null ? null : page.type;
}

/** The client's own request id where it is short and plain, else a new one. */
function requestIdOf(head: RequestHead): string {
  const given = head.fields.get('x-request-id');
  return given !== undefined && /^[\w.:-]{1,128}$/u.test(given) ? given : newId();
}
