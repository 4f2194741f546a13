// Environments: make, show, scale, stop, start, pause, resume, delete. Each is one guarded change of the record; the rollout reconciler does the rest.

import type { table } from '../../api/table.ts';
import { Failure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import { formatDuration } from '../../model/duration.ts';
import { FINAL_DEPLOYMENT_PHASES } from '../../model/documents.ts';
import type { Environment } from '../../model/documents.ts';
import type { Operation, Stored } from '../../store/collection.ts';
import { create, guard, update } from '../../store/records.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { DEFAULT_RUNTIME } from '../cluster/bootstrap.ts';
import { runtimeRecords } from '../cluster/records.ts';
import type { ControlContext } from '../context.ts';
import type { Handler, NounHandlers } from '../handler.ts';
import { findApp, findEnvironment } from '../lookup.ts';
import { pageOf } from '../server-page.ts';
import { tryFit } from './capacity.ts';
import { environmentState } from './environment-state.ts';
import { deploymentStatusRecords, environmentRecords } from './records.ts';
import { environmentReply } from './replies.ts';
import type { EnvironmentReply, ReplyDeps } from './replies.ts';

export interface EnvironmentDeps extends ReplyDeps {
  readonly environmentRoutes: Handler<typeof table.environments.routes>;
  /** Resolves with true when every connected Edge has the table of this moment in force, with false after so long. */
  readonly everywhere: (timeoutMs: number) => Promise<boolean>;
}

const PAUSE_WAIT_MS = 5000;

export function createEnvironmentHandlers(context: ControlContext, deps: EnvironmentDeps): NounHandlers<typeof table.environments> {
  const { view, clock } = context;
  const reply = (environment: Environment): EnvironmentReply => environmentReply(deps, environment, clock.now());

  const findActive = (app: string, name: string): Stored<Environment> => {
    const { environment } = findEnvironment(view, app, name);
    if (environment.document.state === 'active') return environment;
    throw new Failure('conflict', { message: `The Environment ${app}/${name} is being deleted.` });
  };

  const change = async (stored: Stored<Environment>, next: Partial<Environment>, ...more: Operation[]): Promise<EnvironmentReply> => {
    const changed: Environment = { ...stored.document, ...next, generation: stored.document.generation + 1 };
    await view.commit(update(environmentRecords, stored, changed), ...more);
    return reply(changed);
  };

  const tell = (environment: Environment, kind: string, message: string): void =>
    context.event({ level: 'info', kind, message, subject: { appId: environment.appId, environmentId: environment.id } });

  return {
    list: async (call) => {
      const app = findApp(view, call.params.app);
      const byName = view
        .by(environmentRecords, 'app', app.document.id)
        .map(({ document }) => document)
        .sort((a, b) => (a.name < b.name ? -1 : 1));
      const page = pageOf(byName, call.query, { list: 'environments', keyOf: (one) => one.name, order: 'ascending' });
      return { items: page.items.map(reply), next: page.next };
    },
    create: async (call) => {
      const app = findApp(view, call.params.app);
      if (app.document.state === 'deleting') throw new Failure('not_found', { message: `The App ${call.params.app} is being deleted.` });
      const made = call.recordId === undefined ? undefined : view.get(environmentRecords, call.recordId);
      if (made !== undefined) return reply(made.document);
      const runtimeName = call.body.runtime ?? DEFAULT_RUNTIME;
      const runtime = view.byName(runtimeRecords, runtimeName);
      if (runtime === undefined) {
        throw new Failure('not_found', { message: `There is no Runtime ${runtimeName}.`, hint: '`libra runtimes` lists them.' });
      }
      const nowMs = clock.now();
      const environment = newEnvironment({
        id: call.recordId ?? newId(nowMs, context.random),
        appId: app.document.id,
        name: call.body.name,
        runtimeId: runtime.document.id,
        createdAtMs: nowMs,
      });
      await view.commit(create(environmentRecords, environment), guard(appRecords, app));
      tell(environment, 'environment.created', `${call.principal.name} made the Environment ${call.params.app}/${environment.name}.`);
      return reply(environment);
    },
    get: async (call) => reply(findEnvironment(view, call.params.app, call.params.environment).environment.document),
    delete: async (call) => {
      const { environment } = findEnvironment(view, call.params.app, call.params.environment);
      if (call.query.confirm !== environment.document.name) {
        throw new Failure('precondition_failed', {
          message: `To delete ${environment.document.name}, \`confirm\` must repeat its name; it says ${call.query.confirm}.`,
        });
      }
      if (environment.document.state === 'deleting') return reply(environment.document);
      tell(
        environment.document,
        'environment.deleting',
        `${call.principal.name} deletes the Environment ${call.params.app}/${environment.document.name}.`,
      );
      return change(environment, { state: 'deleting' });
    },
    scale: async (call) => {
      const stored = findActive(call.params.app, call.params.environment);
      const environment = stored.document;
      const state = environmentState(view, environment);
      const deployment = state.stable ?? state.candidate;
      const entrypoints: Record<string, { readonly instances?: number }> = { ...environment.overrides.entrypoints };
      for (const [name, count] of Object.entries(call.body.entrypoints)) {
        const spec = deployment?.entrypoints[name];
        if (count === null) delete entrypoints[name];
        else if (spec === undefined || spec.run !== 'service') {
          const known = Object.values(deployment?.entrypoints ?? {}).flatMap((one) => (one.run === 'service' ? [one.name] : []));
          throw new Failure('plan_refused', {
            message: `${name} is not a service of ${call.params.app}/${environment.name}, so it has no number of Instances.`,
            hint: known.length === 0 ? 'Deploy first: libra deploy' : `Services are: ${known.join(', ')}.`,
          });
        } else if (spec.singleton && count > 1) {
          throw new Failure('plan_refused', { message: `${name} is a singleton: it never has more than one Instance.` });
        } else entrypoints[name] = { instances: count };
      }
      const release = deployment === null ? undefined : view.get(releaseRecords, deployment.releaseId)?.document;
      if (deployment !== null && release !== undefined && !environment.stopped) {
        const { shortages } = tryFit(view, {
          runtimeId: environment.runtimeId,
          environmentName: environment.name,
          environment,
          overrides: { entrypoints },
          entrypoints: deployment.entrypoints,
          build: release.manifest.build,
          scaleOnly: true,
          beside: null,
        });
        // Scaling down is never refused, whatever else does not fit.
        const grown = shortages.find(({ entrypoint }) => (call.body.entrypoints[entrypoint] ?? 0) > 0);
        if (grown !== undefined) {
          throw new Failure(grown.code === 'no_capacity' ? 'no_capacity' : 'plan_refused', { message: grown.message, hint: grown.hint });
        }
      }
      const words = Object.entries(call.body.entrypoints).map(([name, count]) => `${name} to ${count ?? 'what the manifest says'}`);
      const result = await change(stored, { overrides: { entrypoints } });
      tell(
        environment,
        'environment.scaled',
        `${call.principal.name} scaled ${words.join(', ')} in ${call.params.app}/${environment.name}.`,
      );
      return result;
    },
    stop: async (call) => {
      const stored = findActive(call.params.app, call.params.environment);
      if (stored.document.stopped) return reply(stored.document);
      const candidate = stored.document.candidateDeploymentId;
      const status = candidate === null ? undefined : view.get(deploymentStatusRecords, candidate);
      // What is on its way is taken back: nothing shall run.
      const cancel =
        status === undefined || FINAL_DEPLOYMENT_PHASES.has(status.document.phase) || status.document.phase === 'draining'
          ? []
          : [update(deploymentStatusRecords, status, { ...status.document, cancelRequested: true })];
      const result = await change(stored, { stopped: true }, ...cancel);
      tell(stored.document, 'environment.stopped', `${call.principal.name} stopped ${call.params.app}/${stored.document.name}.`);
      return result;
    },
    start: async (call) => {
      const stored = findActive(call.params.app, call.params.environment);
      if (!stored.document.stopped) return reply(stored.document);
      const result = await change(stored, { stopped: false, resumedAtMs: clock.now() });
      tell(stored.document, 'environment.started', `${call.principal.name} started ${call.params.app}/${stored.document.name}.`);
      return result;
    },
    pause: async (call) => {
      const stored = findActive(call.params.app, call.params.environment);
      const name = `${call.params.app}/${stored.document.name}`;
      const result = await change(stored, { hold: { sinceMs: clock.now(), maxMs: call.body.maxMs } });
      tell(
        stored.document,
        'environment.paused',
        `${call.principal.name} paused ${name}: its requests wait, at most ${formatDuration(call.body.maxMs)}.`,
      );
      if (await deps.everywhere(PAUSE_WAIT_MS)) return result;
      throw new Failure('timeout', {
        message: `${name} is paused, but an Edge has not taken that up yet: requests may still reach it.`,
        hint: 'Look at `libra status`; libra resume ends the pause.',
      });
    },
    resume: async (call) => {
      const stored = findActive(call.params.app, call.params.environment);
      if ((stored.document.hold ?? null) === null) return reply(stored.document);
      const result = await change(stored, { hold: null });
      tell(stored.document, 'environment.resumed', `${call.principal.name} resumed ${call.params.app}/${stored.document.name}.`);
      return result;
    },
    routes: deps.environmentRoutes,
  };
}

/** An Environment that nothing has been deployed to. */
export function newEnvironment(of: Pick<Environment, 'id' | 'appId' | 'name' | 'runtimeId' | 'createdAtMs'>): Environment {
  return {
    ...of,
    generation: 1,
    stableDeploymentId: null,
    candidateDeploymentId: null,
    lastDeployment: 0,
    overrides: { entrypoints: {} },
    stopped: false,
    state: 'active',
  };
}
