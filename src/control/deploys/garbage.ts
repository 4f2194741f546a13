// Takes away what nobody needs any more: ended Instances after their time, old Deployments and Releases beyond those to roll back to,
// deleted Apps and Environments once nothing of them runs, and blobs that no record names. Never what is in use.

import { isFailure } from '../../lib/failure.ts';
import { FINAL_DEPLOYMENT_PHASES, FINAL_INSTANCE_PHASES } from '../../model/documents.ts';
import type { App, Environment, InstanceSpec } from '../../model/documents.ts';
import type { Operation, Stored } from '../../store/collection.ts';
import { guard, remove, update } from '../../store/records.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { removeGrantsOf } from '../auth/grants.ts';
import { buildCacheRecords } from '../builds/records.ts';
import { instanceStatusRecords } from '../cluster/records.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import { deploymentRecords, deploymentStatusRecords, environmentRecords, instanceSpecRecords } from './records.ts';
import { createSteadyTime } from './steady-time.ts';

const EVERY_MS = 60_000;
/** While something is being deleted. */
const RETRY_MS = 500;
const CACHE_AGE_MS = 7 * 24 * 3_600_000;
/** Ended Instances that stay per Entrypoint and role whatever their age: the last ones tell most, and the last tick of a schedule counts. */
const KEPT_ENDED = 3;
/** Deployments that succeeded and stay to be rolled back to, and all others that stay to be looked at. */
const KEPT_SUCCEEDED = 10;
const KEPT_OTHERS = 10;
const PER_COMMIT = 40;

export interface GarbageDeps {
  /** Deletes the sealed values of an Environment that goes. */
  readonly removeValuesOf: (environmentId: string) => readonly Operation[];
}

export function createGarbageReconciler(context: ControlContext, deps: GarbageDeps): Reconciler {
  const { view, clock, settings, log } = context;
  const elapsedMs = createSteadyTime(clock);
  let sweptAtMs = Number.NEGATIVE_INFINITY;

  /** In commits of a bounded size; each record guarded by what was read. */
  const commit = async (operations: readonly Operation[], fence?: Operation): Promise<void> => {
    for (let from = 0; from < operations.length; from += PER_COMMIT) {
      await view.commit(...operations.slice(from, from + PER_COMMIT), ...(fence === undefined ? [] : [fence]));
    }
  };

  const endedAtMs = (spec: InstanceSpec): number | null => {
    const status = view.get(instanceStatusRecords, spec.id)?.document;
    return status !== undefined && FINAL_INSTANCE_PHASES.has(status.phase) ? status.updatedAtMs : null;
  };

  const removeInstance = (stored: Stored<InstanceSpec>): readonly Operation[] => {
    const status = view.get(instanceStatusRecords, stored.document.id);
    return [remove(instanceSpecRecords, stored), ...(status === undefined ? [] : [remove(instanceStatusRecords, status)])];
  };

  const isUnfinished = (deploymentId: string | null): boolean => {
    const phase = deploymentId === null ? undefined : view.get(deploymentStatusRecords, deploymentId)?.document.phase;
    return phase !== undefined && !FINAL_DEPLOYMENT_PHASES.has(phase);
  };

  /** Ended Instances whose time is over. */
  const oldInstances = (instances: readonly Stored<InstanceSpec>[]): readonly Stored<InstanceSpec>[] => {
    const kept = new Map<string, number>();
    const volumes = new Set<string>();
    const newestFirst = instances.toSorted((a, b) => b.document.createdAtMs - a.document.createdAtMs);
    return newestFirst.filter(({ document: spec }) => {
      // The newest of a slot tells on which Node its volume is.
      const slot = `${spec.entrypoint}/${spec.slot}`;
      const newestOfSlot = !volumes.has(slot);
      volumes.add(slot);
      const ended = endedAtMs(spec);
      if (ended === null) return false;
      const key = `${spec.role}/${spec.entrypoint}`;
      const count = kept.get(key) ?? 0;
      kept.set(key, count + 1);
      return (
        count >= KEPT_ENDED &&
        !(newestOfSlot && hadVolumes(spec)) &&
        !isUnfinished(spec.deploymentId) &&
        elapsedMs(ended) >= settings.retainEndedMs
      );
    });
  };

  const hadVolumes = (spec: InstanceSpec): boolean => {
    const deployment = spec.deploymentId === null ? undefined : view.get(deploymentRecords, spec.deploymentId)?.document;
    return (deployment?.entrypoints[spec.entrypoint]?.volumes.length ?? 0) > 0;
  };

  const sweepDeployments = async (stored: Stored<Environment>): Promise<void> => {
    const { id, stableDeploymentId, candidateDeploymentId } = stored.document;
    const used = new Set<string | null>([stableDeploymentId, candidateDeploymentId]);
    for (const { document } of view.by(instanceSpecRecords, 'environment', id)) used.add(document.deploymentId);
    let succeeded = 0;
    let others = 0;
    const old = view
      .by(deploymentRecords, 'environment', id)
      .toSorted((a, b) => b.document.number - a.document.number)
      .filter(({ document }) => {
        const phase = view.get(deploymentStatusRecords, document.id)?.document.phase;
        const spare = phase === 'succeeded' ? (succeeded += 1) > KEPT_SUCCEEDED : (others += 1) > KEPT_OTHERS;
        return spare && !used.has(document.id) && !isUnfinished(document.id);
      });
    const operations = old.flatMap((deployment) => {
      const status = view.get(deploymentStatusRecords, deployment.document.id);
      return [remove(deploymentRecords, deployment), ...(status === undefined ? [] : [remove(deploymentStatusRecords, status)])];
    });
    await commit(operations, guard(environmentRecords, stored));
  };

  const sweepEnvironment = async (id: string): Promise<void> => {
    await commit(oldInstances(view.by(instanceSpecRecords, 'environment', id)).flatMap(removeInstance));
    const stored = view.get(environmentRecords, id);
    if (stored !== undefined) await sweepDeployments(stored);
  };

  /** Removes an Environment when nothing of it runs any more; what was its own goes first, so that a break-off is gone on with. */
  const deleteEnvironment = async (stored: Stored<Environment>): Promise<void> => {
    const { id, name, appId } = stored.document;
    const instances = view.by(instanceSpecRecords, 'environment', id);
    if (instances.some(({ document }) => endedAtMs(document) === null)) return;
    await commit(instances.flatMap(removeInstance));
    await commit(deps.removeValuesOf(id));
    await commit(view.by(deploymentRecords, 'environment', id).map((one) => remove(deploymentRecords, one)));
    await commit(view.by(deploymentStatusRecords, 'environment', id).map((one) => remove(deploymentStatusRecords, one)));
    const current = view.get(environmentRecords, id);
    if (current !== undefined) await view.commit(remove(environmentRecords, current));
    context.event({ level: 'info', kind: 'environment.deleted', message: `The Environment ${name} is gone.`, subject: { appId } });
  };

  const deleteApp = async (stored: Stored<App>): Promise<void> => {
    const { id, name } = stored.document;
    const instances = view.by(instanceSpecRecords, 'app', id);
    const builds = instances.filter(
      ({ document }) => document.role === 'build' && document.desired === 'run' && endedAtMs(document) === null,
    );
    await commit(
      builds.map((build) => {
        const stopped: InstanceSpec = { ...build.document, desired: 'stop', generation: build.document.generation + 1 };
        return update(instanceSpecRecords, build, stopped);
      }),
    );
    for (const environment of view.by(environmentRecords, 'app', id)) await deleteEnvironment(environment);
    const left = view.by(instanceSpecRecords, 'app', id);
    if (view.by(environmentRecords, 'app', id).length > 0 || left.some(({ document }) => endedAtMs(document) === null)) return;
    await commit(left.flatMap(removeInstance));
    await commit(removeGrantsOf(view, id));
    await commit(view.by(releaseRecords, 'app', id).map((release) => remove(releaseRecords, release)));
    const current = view.get(appRecords, id);
    if (current !== undefined) await view.commit(remove(appRecords, current));
    context.event({ level: 'info', kind: 'app.deleted', message: `The App ${name} is gone.`, subject: {} });
  };

  const sweepReleases = async (app: Stored<App>): Promise<void> => {
    const builds = view.by(instanceSpecRecords, 'app', app.document.id).filter(({ document }) => document.role === 'build');
    await commit(oldInstances(builds.filter(({ document }) => !isBuilding(document.releaseId))).flatMap(removeInstance));
    const old = view
      .by(releaseRecords, 'app', app.document.id)
      .toSorted((a, b) => b.document.number - a.document.number)
      .slice(settings.retainReleases)
      .filter(({ document }) => document.state !== 'building' && view.by(deploymentRecords, 'release', document.id).length === 0);
    // A Deployment that is made of one of them at this moment changes its Environment, and then nothing is removed.
    const environments = view.by(environmentRecords, 'app', app.document.id);
    if (environments.length > PER_COMMIT) return;
    const fence: Operation = { compare: environments.flatMap((one) => guard(environmentRecords, one).compare), writes: [] };
    await commit(
      old.map((release) => remove(releaseRecords, release)),
      fence,
    );
  };

  const isBuilding = (releaseId: string): boolean => view.get(releaseRecords, releaseId)?.document.state === 'building';

  const sweepCache = async (): Promise<void> => {
    const stale = view.list(buildCacheRecords).filter(({ document }) => elapsedMs(document.usedAtMs) >= CACHE_AGE_MS);
    await commit(stale.map((entry) => remove(buildCacheRecords, entry)));
  };

  return {
    name: 'garbage',
    everyMs: EVERY_MS,
    wakeOn: [appRecords.name, environmentRecords.name],
    run: async (signal) => {
      let failed = false;
      const attempt = async (work: () => Promise<void>): Promise<void> => {
        if (signal.aborted) return;
        try {
          await work();
        } catch (error) {
          failed = true;
          if (!isFailure(error, 'conflict')) log.error({ error }, 'garbage pass failed');
        }
      };
      // Woken by every change of an Environment, it only deletes; the rest has time.
      const sweeps = clock.monotonic() - sweptAtMs >= EVERY_MS;
      if (sweeps) sweptAtMs = clock.monotonic();
      for (const app of view.list(appRecords)) {
        if (app.document.state === 'deleting') {
          await attempt(() => deleteApp(app));
          continue;
        }
        for (const environment of view.by(environmentRecords, 'app', app.document.id)) {
          if (environment.document.state === 'deleting') await attempt(() => deleteEnvironment(environment));
          else if (sweeps) await attempt(() => sweepEnvironment(environment.document.id));
        }
        if (sweeps) await attempt(() => sweepReleases(app));
      }
      if (sweeps) await attempt(sweepCache);
      const deleting =
        view.list(appRecords).some(({ document }) => document.state === 'deleting') ||
        view.list(environmentRecords).some(({ document }) => document.state === 'deleting');
      return deleting || failed ? RETRY_MS : EVERY_MS;
    },
  };
}
