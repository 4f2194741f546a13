// DevSessions: who may stand in for what, and for how long. Whether two sessions get in each other's way is decided by the store, so that
// of two who ask at once one is refused; the refusal names the other.

import { createHash } from 'node:crypto';
import type { table } from '../../api/table.ts';
import { Failure, isFailure } from '../../lib/failure.ts';
import { newId, newToken } from '../../lib/id.ts';
import { personalHost, platformHost } from '../../model/names.ts';
import { routeUrl } from '../../model/route-url.ts';
import type { App, DevSession, Environment } from '../../model/documents.ts';
import type { Stored } from '../../store/collection.ts';
import { create, guard, remove } from '../../store/records.ts';
import type { Values } from '../config/values.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import { environmentRecords } from '../deploys/records.ts';
import type { NounHandlers } from '../handler.ts';
import { findEnvironment } from '../lookup.ts';
import type { Routing } from '../routing/routing.ts';
import { createSessionsReconciler } from './reconcile-sessions.ts';
import { refuseProtected } from './protection.ts';
import { sessionName, sessionRecords } from './records.ts';

type Handlers = NounHandlers<typeof table.sessions>;
type Reply = Awaited<ReturnType<Handlers['list']>>['items'][number];

const MOST_PER_ENVIRONMENT = 100;
/** Whoever has not taken it up by then says so when the laptop comes, which tries again. */
const EDGES_MS = 2_000;
/** Where a laptop asks an Edge for its session. */
const GATEWAY_PATH = '/_libra/dev';

export interface SessionsDeps {
  readonly routing: Pick<Routing, 'urlOf' | 'attachments' | 'everywhere'>;
  readonly values: Pick<Values, 'resolveValues' | 'openValue'>;
}

export interface Sessions {
  readonly handlers: { readonly sessions: Handlers };
  readonly reconcilers: readonly Reconciler[];
}

export function createSessions(context: ControlContext, { routing, values }: SessionsDeps): Sessions {
  const { view, clock, random, settings } = context;

  const reply = (app: App, environment: Environment, session: DevSession): Reply => ({
    id: session.id,
    app: app.name,
    environment: environment.name,
    entrypoint: session.entrypoint,
    mode: session.mode,
    key: session.key,
    owner: session.owner,
    from: session.from,
    connected: session.attached !== null,
    url:
      (session.mode === 'replace' ? routing.urlOf(app, environment) : null) ??
      routeUrl(settings, { host: personalHost(session.key, app.name, environment.name, settings.domain), path: '/' }),
    createdAtMs: session.createdAtMs,
    expiresAtMs: session.expiresAtMs,
  });

  const find = (environmentId: string, id: string): Stored<DevSession> => {
    const stored = view.get(sessionRecords, id);
    if (stored !== undefined && stored.document.environmentId === environmentId) return stored;
    throw new Failure('not_found', { message: `There is no session ${id} here.`, hint: '`libra dev ls` lists them.' });
  };

  const taken = ({ document: other }: Stored<DevSession>, where: string): Failure => {
    const what = other.mode === 'replace' ? `All requests for ${where} go` : `The key ${other.key} is in use for ${where}: its requests go`;
    const state = other.attached === null ? 'which is not connected at the moment' : `since ${new Date(other.createdAtMs).toISOString()}`;
    return new Failure('conflict', {
      message: `${what} to the session of ${other.owner} (${other.from}), ${state}.`,
      hint: `Choose another key with --key, ask ${other.from}, or end that one: libra dev revoke ${other.id}`,
      details: { session: other.id, owner: other.owner, from: other.from },
    });
  };

  const tell = (kind: string, session: DevSession, message: string): void =>
    context.event({ level: 'info', kind, message, subject: { appId: session.appId, environmentId: session.environmentId } });

  const handlers: Handlers = {
    list: async (call) => {
      const { app, environment } = findEnvironment(view, call.params.app, call.params.environment);
      const there = view.by(sessionRecords, 'environment', environment.document.id);
      return { items: there.map(({ document }) => reply(app.document, environment.document, document)) };
    },
    create: async (call) => {
      const { app, environment } = findEnvironment(view, call.params.app, call.params.environment);
      const where = `${app.document.name}/${environment.document.name} ${call.body.entrypoint}`;
      if (environment.document.state === 'deleting' || app.document.state === 'deleting')
        throw new Failure('not_found', { message: `${app.document.name}/${environment.document.name} is being deleted.` });
      refuseProtected(view, app.document, environment.document);
      const there = view.by(sessionRecords, 'environment', environment.document.id);
      if (there.length >= MOST_PER_ENVIRONMENT)
        throw new Failure('rate_limited', {
          message: `${app.document.name}/${environment.document.name} has ${MOST_PER_ENVIRONMENT} sessions already.`,
          hint: 'End some: libra dev ls, libra dev revoke',
        });
      const credential = newToken('libra_dev', random);
      const nowMs = clock.now();
      const { entrypoint, mode, key, from, paths, uses, ttlMs } = call.body;
      const session: DevSession = {
        id: newId(nowMs, random),
        appId: app.document.id,
        environmentId: environment.document.id,
        entrypoint,
        mode,
        key,
        owner: call.principal.name,
        from,
        hash: createHash('sha256').update(credential).digest('hex'),
        paths,
        ...(uses.length === 0 ? {} : { uses }),
        attached: null,
        lastAttachedMs: nowMs,
        createdAtMs: nowMs,
        expiresAtMs: nowMs + ttlMs,
      };
      const inTheWay = there.find(({ document }) => sessionName(document) === sessionName(session));
      // What a program that was killed has left behind is in nobody's way but its own.
      const isOwn = inTheWay?.document.owner === session.owner && inTheWay.document.from === from && inTheWay.document.attached === null;
      if (inTheWay !== undefined && !isOwn) throw taken(inTheWay, where);
      try {
        // Two commits where one makes way: the name is free only then.
        if (inTheWay !== undefined) await view.commit(remove(sessionRecords, inTheWay));
        await view.commit(create(sessionRecords, session), guard(environmentRecords, environment));
      } catch (error) {
        const other = view.byName(sessionRecords, sessionName(session));
        if (isFailure(error, 'exists') && other !== undefined) throw taken(other, where);
        throw error;
      }
      // The laptop may come to any of them as soon as it knows its credential.
      await routing.everywhere(EDGES_MS);
      tell('session.created', session, `${session.owner} (${from}) stands in for ${where}, ${mode}, with the key ${key}.`);
      return {
        ...reply(app.document, environment.document, session),
        credential,
        gateway: routeUrl(settings, { host: platformHost(settings.domain), path: GATEWAY_PATH }),
      };
    },
    delete: async (call) => {
      const { app, environment } = findEnvironment(view, call.params.app, call.params.environment);
      const stored = find(environment.document.id, call.params.session);
      await view.commit(remove(sessionRecords, stored));
      const { entrypoint, owner, from, key } = stored.document;
      const where = `${app.document.name}/${environment.document.name} ${entrypoint}`;
      tell('session.ended', stored.document, `${call.principal.name} ended the session ${key} of ${owner} (${from}) for ${where}.`);
    },
    values: async (call) => {
      const { app, environment } = findEnvironment(view, call.params.app, call.params.environment);
      const { document: session } = find(environment.document.id, call.params.session);
      // It may have become protected by a Deployment since the session began.
      refuseProtected(view, app.document, environment.document);
      const current = values.resolveValues(environment.document.id);
      const open = (valueId: string): string => values.openValue(valueId).toString();
      const secrets = call.body.secrets.flatMap((name): [string, string][] => {
        const value = current.secrets.get(name);
        return value === undefined ? [] : [[name, open(value.valueId)]];
      });
      const { owner, from } = session;
      tell(
        'session.values',
        session,
        `${call.principal.name} read values of ${app.document.name}/${environment.document.name} for the session of ${owner} (${from}).`,
      );
      return {
        env: Object.fromEntries(Array.from(current.env, ([name, { valueId }]) => [name, open(valueId)])),
        secrets: Object.fromEntries(secrets),
      };
    },
  };
  return { handlers: { sessions: handlers }, reconcilers: [createSessionsReconciler(context, routing)] };
}
