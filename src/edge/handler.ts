// One request through the Edge: which Route, which target, or which page; then its line in the access log and its numbers.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { RouteGroup } from '../api/dataplane.ts';
import type { Clock } from '../lib/clock.ts';
import { newId } from '../lib/id.ts';
import type { AccessLog } from '../proxy/access-log.ts';
import type { Exchange, ExchangeResult } from '../proxy/exchange.ts';
import { forward } from '../proxy/forward.ts';
import type { ForwardDeps } from '../proxy/forward.ts';
import { discardBody } from '../proxy/request-body.ts';
import { forwardUpgrade } from '../proxy/upgrade.ts';
import type { Groups } from './groups.ts';
import { NO_ROUTE } from './metrics.ts';
import type { EdgeMetrics, Labels } from './metrics.ts';
import { renderPage } from './pages/page.ts';
import type { Situation } from './pages/situation.ts';
import { parseRequestTarget } from './request-target.ts';
import type { Routing } from './routing.ts';

export interface HandlerDeps {
  readonly forwarding: ForwardDeps;
  readonly routing: Routing;
  readonly groups: Groups;
  readonly metrics: EdgeMetrics;
  readonly accessLog: AccessLog;
  readonly clock: Clock;
}

export interface Handler {
  request(request: IncomingMessage, response: ServerResponse): void;
  upgrade(request: IncomingMessage, response: ServerResponse, head: Buffer): void;
}

interface Found {
  readonly type: 'group';
  readonly group: RouteGroup;
  readonly route: string;
}

export function createHandler(deps: HandlerDeps): Handler {
  const { routing, groups, metrics, accessLog, clock } = deps;

  const find = (host: string, path: string, request: IncomingMessage): Found | Situation => {
    const table = routing.table();
    if (table === null) return { type: 'no_table' };
    const rule = table.match({ host, path, headers: request.headers });
    if (rule === null) return table.knowsHost(host) ? { type: 'no_path', host, path } : { type: 'no_host', host };
    const live = groups.get(rule.group);
    return live === null ? { type: 'no_host', host } : { type: 'group', group: live.group, route: `${rule.host}${rule.path}` };
  };

  /** Tries, waits while the group is starting, tries again; null where the target answered or nobody is left to answer to. */
  const carry = async (
    found: Found,
    exchange: Exchange,
    head: Buffer | null,
  ): Promise<{ result: ExchangeResult; page: Situation | null }> => {
    for (;;) {
      const result = await (head === null ? forward(deps.forwarding, exchange) : forwardUpgrade(deps.forwarding, exchange, head));
      const group = groups.get(found.group.id)?.group ?? found.group;
      if (result.type === 'no_target' && result.reason === 'none' && group.state === 'starting') {
        const gone = new AbortController();
        const onClose = (): void => gone.abort();
        exchange.response.once('close', onClose);
        const again = await groups.wait(group.id, gone.signal);
        exchange.response.off('close', onClose);
        if (gone.signal.aborted) return { result: { type: 'client_gone', status: null }, page: null };
        if (again) continue;
      }
      return { result, page: situationOf(result, group) };
    }
  };

  const handle = async (request: IncomingMessage, response: ServerResponse, head: Buffer | null): Promise<void> => {
    const startedMs = clock.monotonic();
    const atMs = clock.now();
    const parsed = parseRequestTarget(request);
    const requestId = requestIdOf(request);
    const found = parsed.type === 'bad' ? ({ type: 'bad_request', why: parsed.why } as const) : find(parsed.host, parsed.pathname, request);
    const groupId = found.type === 'group' ? found.group.id : '';
    const exchange: Exchange = {
      request,
      response,
      client: {
        host: parsed.type === 'bad' ? '' : parsed.authority,
        address: plainAddress(request.socket.remoteAddress ?? ''),
        protocol: 'http',
        requestId,
      },
      path: parsed.type === 'bad' ? '' : parsed.path,
      next: (tried) => groups.next(groupId, tried),
      facts: { startedMs, attempts: 0, target: null, connectMs: null, firstByteMs: null, bytesIn: 0, bytesOut: 0 },
    };
    let result: ExchangeResult = { type: 'no_target', reason: 'none' };
    let page: Situation | null = null;
    if (found.type === 'group') ({ result, page } = await carry(found, exchange, head));
    else page = found;
    let status = statusOf(result);
    if (page !== null) {
      status = answerPage(exchange, page);
      discardBody(request, deps.forwarding.limits, deps.forwarding.deadlines);
    }
    const durationMs = clock.monotonic() - startedMs;
    const labels: Labels = found.type === 'group' ? found.group : NO_ROUTE;
    metrics.observe({
      labels,
      status,
      durationMs,
      attempts: exchange.facts.attempts,
      failed: result.type === 'failed' || result.type === 'cut' || (result.type === 'no_target' && result.reason === 'refused'),
      bytesIn: exchange.facts.bytesIn,
      bytesOut: exchange.facts.bytesOut,
    });
    accessLog.write({
      atMs,
      durationMs,
      status,
      exchange,
      result: result.type,
      reason: reasonOf(result, page),
      labels:
        found.type === 'group'
          ? { route: found.route, app: labels.app, environment: labels.environment, entrypoint: labels.entrypoint }
          : {},
    });
  };

  return {
    request: (request, response) => void handle(request, response, null),
    upgrade: (request, response, head) => void handle(request, response, head),
  };
}

function answerPage(exchange: Exchange, situation: Situation): number | null {
  const { request, response } = exchange;
  if (response.destroyed || response.headersSent) return null;
  const page = renderPage(situation, request.headers.accept, exchange.client.requestId);
  // A client that waits for leave to send its body will not send it now.
  if (!request.complete && request.headers.expect !== undefined) response.shouldKeepAlive = false;
  response.writeHead(page.status, { ...page.headers, 'x-request-id': exchange.client.requestId });
  response.end(request.method === 'HEAD' ? undefined : page.body);
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

function reasonOf(result: ExchangeResult, page: Situation | null): string | null {
  if (result.type === 'failed' || result.type === 'cut') return result.message;
  return page === null ? null : page.type;
}

/** An IPv4 address that came in on an IPv6 socket, as IPv4. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address;
}

/** The client's own request id where it is short and plain, else a new one. */
function requestIdOf(request: IncomingMessage): string {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,128}$/u.test(given) ? given : newId();
}
