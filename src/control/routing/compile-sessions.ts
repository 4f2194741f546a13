// Developers' sessions in an Environment's part of the route table.

import type { RouteGroup, RouteRule, RouteSession, RouteTarget } from '../../api/dataplane.ts';
import type { App, DevSession, Environment } from '../../model/documents.ts';
import { defaultHost, personalHost } from '../../model/names.ts';
import { routeKey } from '../../model/route-match.ts';

export interface SessionInput {
  readonly session: DevSession;
  /** Of the Node that its laptop is connected to; absent: it has none, or is not. */
  readonly via?: { readonly host: string; readonly port: number };
}

interface SessionsOf {
  readonly app: App;
  readonly environment: Environment;
  readonly domain: string;
  /** In the order in which they began. */
  readonly sessions?: readonly SessionInput[];
}

interface Part {
  readonly rules: readonly RouteRule[];
  readonly groups: readonly RouteGroup[];
}

/** What laptops stand in for has a group though nothing is deployed, and each personal session leads by a host of its own to all of it. */
export function withSessions(
  { app, environment, domain, sessions = [] }: SessionsOf,
  deployed: readonly RouteRule[],
  groups: readonly RouteGroup[],
): Part {
  if (sessions.length === 0) return { rules: deployed, groups };
  const byEntrypoint = new Map(groups.map((group) => [group.entrypoint, group]));
  const rules = new Map(deployed.map((rule) => [routeKey(rule), rule]));
  const add = (rule: RouteRule): void => {
    if (!rules.has(routeKey(rule))) rules.set(routeKey(rule), rule);
  };
  for (const { session, via } of sessions) {
    const { entrypoint } = session;
    const before = byEntrypoint.get(entrypoint);
    const id = `${environment.id}/${entrypoint}`;
    // Nothing is deployed there: the session has it alone.
    if (before === undefined)
      for (const path of session.paths) add({ host: defaultHost(app.name, environment.name, domain), path, headers: {}, group: id });
    // Whoever came first has what names nobody, while nothing else could answer it.
    const alone = before === undefined;
    const group = before ?? { id, app: app.name, environment: environment.name, entrypoint, state: 'down', targets: [] };
    byEntrypoint.set(entrypoint, { ...group, sessions: [...(group.sessions ?? []), compileSession(session, alone, via)] });
  }
  const common = [...rules.values()];
  for (const { session } of sessions) {
    if (session.mode !== 'personal') continue;
    const host = personalHost(session.key, app.name, environment.name, domain);
    for (const rule of common) add({ ...rule, host, session: session.key });
  }
  return { rules: [...rules.values()], groups: [...byEntrypoint.values()].sort((a, b) => (a.entrypoint < b.entrypoint ? -1 : 1)) };
}

function compileSession(session: DevSession, alone: boolean, via?: RouteTarget['via']): RouteSession {
  const { id, key, hash, expiresAtMs, attached, uses = [] } = session;
  const mode = alone ? 'replace' : session.mode;
  const target =
    attached === null ? null : { nodeId: attached.nodeId, host: attached.host, port: attached.port, ...(via === undefined ? {} : { via }) };
  return { id, key, mode, hash, expiresAtMs, target, ...(uses.length === 0 ? {} : { uses }) };
}
