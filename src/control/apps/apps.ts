// Apps: make, list, show, delete. What an App is doing is counted from its Environments through the view's indexes, page by page.

import type { ReplyOf } from '../../api/endpoint.ts';
import type { ApiTable, table } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import type { App, Environment } from '../../model/documents.ts';
import { PRODUCTION } from '../../model/names.ts';
import { create, update } from '../../store/records.ts';
import { teamRecords } from '../auth/records.ts';
import { DEFAULT_RUNTIME } from '../cluster/bootstrap.ts';
import { runtimeRecords } from '../cluster/records.ts';
import type { ControlContext } from '../context.ts';
import { environmentState } from '../deploys/environment-state.ts';
import { newEnvironment } from '../deploys/environments.ts';
import { environmentRecords } from '../deploys/records.ts';
import type { NounHandlers } from '../handler.ts';
import { findApp } from '../lookup.ts';
import { pageOf } from '../server-page.ts';
import { newApp } from './new-app.ts';
import { appRecords } from './records.ts';
import { createReleaseHandlers } from './releases.ts';

type AppReply = ReplyOf<ApiTable['apps']['get']>;

export interface AppsDeps {
  /** Where people reach the Environment; null: nowhere. */
  readonly urlOf: (app: App, environment: Environment) => string | null;
}

export interface Apps {
  readonly handlers: {
    readonly apps: NounHandlers<typeof table.apps>;
    readonly releases: NounHandlers<typeof table.releases>;
  };
}

export function createApps(context: ControlContext, deps: AppsDeps): Apps {
  return { handlers: { apps: createAppHandlers(context, deps), releases: createReleaseHandlers(context) } };
}

function createAppHandlers(context: ControlContext, deps: AppsDeps): NounHandlers<typeof table.apps> {
  const { view, clock } = context;

  const reply = (app: App): AppReply => ({
    id: app.id,
    name: app.name,
    team: view.get(teamRecords, app.teamId)?.document.name ?? '',
    gitUrl: app.gitUrl,
    state: app.state,
    lastRelease: app.lastRelease,
    environments: view
      .by(environmentRecords, 'app', app.id)
      .map(({ document }) => document)
      .sort((a, b) => Number(b.name === PRODUCTION) - Number(a.name === PRODUCTION) || (a.name < b.name ? -1 : 1))
      .map((environment) => {
        const { status, release, healthy, wanted } = environmentState(view, environment);
        return { name: environment.name, status, release, healthy, wanted, url: deps.urlOf(app, environment) };
      }),
    createdAtMs: app.createdAtMs,
  });

  return {
    list: async (call) => {
      const byName = view
        .list(appRecords)
        .map(({ document }) => document)
        .sort((a, b) => (a.name < b.name ? -1 : 1));
      const page = pageOf(byName, call.query, { list: 'apps', keyOf: (app) => app.name, order: 'ascending' });
      return { items: page.items.map(reply), next: page.next };
    },
    create: async (call) => {
      const made = call.recordId === undefined ? undefined : view.get(appRecords, call.recordId);
      if (made !== undefined) return reply(made.document);
      const app = newApp(context, { name: call.body.name, gitUrl: call.body.gitUrl, id: call.recordId });
      const runtime = view.byName(runtimeRecords, DEFAULT_RUNTIME);
      if (runtime === undefined) throw new Failure('unavailable', { message: 'The platform has no default Runtime yet.' });
      const production = newEnvironment({
        id: newId(clock.now(), context.random),
        appId: app.id,
        name: PRODUCTION,
        runtimeId: runtime.document.id,
        createdAtMs: clock.now(),
      });
      await view.commit(create(appRecords, app), create(environmentRecords, production));
      context.event({
        level: 'info',
        kind: 'app.created',
        message: `${call.principal.name} made the App ${app.name}.`,
        subject: { appId: app.id },
      });
      return reply(app);
    },
    get: async (call) => reply(findApp(view, call.params.app).document),
    delete: async (call) => {
      const stored = findApp(view, call.params.app);
      const app = stored.document;
      if (call.query.confirm !== app.name) {
        throw new Failure('precondition_failed', {
          message: `To delete ${app.name}, \`confirm\` must repeat its name; it says ${call.query.confirm}.`,
        });
      }
      if (app.state === 'deleting') return reply(app);
      const next: App = { ...app, state: 'deleting' };
      await view.commit(update(appRecords, stored, next));
      context.event({
        level: 'info',
        kind: 'app.deleting',
        message: `${call.principal.name} deletes the App ${app.name}.`,
        subject: { appId: app.id },
      });
      return reply(next);
    },
  };
}
