// Carries out what planRollout decides: one guarded commit per Environment and pass, at most some 90 writes. Only Environments that
// something happened to are looked at, and all of them now and then: the records alone decide, never what woke it.

import { isFailure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import { FINAL_DEPLOYMENT_PHASES } from '../../model/documents.ts';
import type { Environment } from '../../model/documents.ts';
import type { Operation, Stored } from '../../store/collection.ts';
import { create, guard, update } from '../../store/records.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from '../cluster/records.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import { stopFirstBecause } from './placement.ts';
import { createPlacer } from './rooms.ts';
import { deploymentRecords, deploymentStatusRecords, environmentRecords, instanceSpecRecords } from './records.ts';
import { createChangedEnvironments } from './changed-environments.ts';
import type { RolloutDeployment, RolloutInput, RolloutInstance, RolloutPlan, Traffic } from './rollout-input.ts';
import { TRAFFIC_POLL_MS } from './rollout-converge.ts';
import { hasEnded } from './rollout-draft.ts';
import { planRollout } from './rollout.ts';
import { createSteadyTime } from './steady-time.ts';

const FULL_PASS_MS = 30_000;
const MAX_CHANGES = 40;
const CONFLICT_RETRY_MS = 20;
const ERROR_RETRY_MS = 5000;
/** How often a slot without a Node looks again. */
const HUNGRY_RETRY_MS = 1000;

export interface RolloutDeps {
  readonly trafficState: () => Traffic;
}

export function createRolloutReconciler(context: ControlContext, deps: RolloutDeps): Reconciler {
  const { view, clock, log } = context;
  const changed = createChangedEnvironments(context);
  const elapsedMs = createSteadyTime(clock);
  const due = new Map<string, number>();
  /** `environment/entrypoint/slot` that were told to have no Node. */
  const told = new Map<string, ReadonlySet<string>>();
  let lastFullMs = Number.NEGATIVE_INFINITY;

  const inputOf = (environment: Environment, traffic: Traffic): RolloutInput => {
    const instances: RolloutInstance[] = view
      .by(instanceSpecRecords, 'environment', environment.id)
      .map(({ document: spec }) => ({ spec, status: view.get(instanceStatusRecords, spec.id)?.document ?? null }));
    const deployments = new Map<string, RolloutDeployment>();
    const take = (id: string | null): void => {
      if (id === null || deployments.has(id)) return;
      const deployment = view.get(deploymentRecords, id)?.document;
      const status = view.get(deploymentStatusRecords, id)?.document;
      if (deployment === undefined || status === undefined) return;
      const release = view.get(releaseRecords, deployment.releaseId)?.document;
      if (release !== undefined) deployments.set(id, { deployment, status, release });
    };
    take(environment.stableDeploymentId);
    take(environment.candidateDeploymentId);
    for (const { document } of view.by(deploymentStatusRecords, 'environment', environment.id)) {
      if (!FINAL_DEPLOYMENT_PHASES.has(document.phase)) take(document.id);
    }
    for (const instance of instances) if (!hasEnded(instance)) take(instance.spec.deploymentId);
    return {
      nowMs: clock.now(),
      elapsedMs,
      newId: () => newId(clock.now(), context.random),
      appState: view.get(appRecords, environment.appId)?.document.state ?? 'deleting',
      environment,
      deployments,
      instances,
      drainingNodes: drainingNodes(),
      place: createPlacer(view, environment.runtimeId),
      stopFirst: (spec, release) => stopFirstBecause(view, environment.runtimeId, spec, release.manifest.build) !== null,
      traffic,
      maxChanges: MAX_CHANGES,
    };
  };

  const drainingNodes = (): ReadonlySet<string> =>
    new Set(view.list(nodeSpecRecords).flatMap(({ document }) => (document.scheduling === 'draining' ? [document.id] : [])));

  /** The writes of a Plan, each guarded by what was read; [] where there is nothing to write. */
  const operationsOf = (stored: Stored<Environment>, plan: RolloutPlan): readonly Operation[] => {
    const operations: Operation[] = [];
    const nodeIds = new Set<string>();
    for (const spec of plan.creates) {
      operations.push(create(instanceSpecRecords, spec));
      nodeIds.add(spec.nodeId);
    }
    for (const spec of plan.changes) {
      const current = view.get(instanceSpecRecords, spec.id);
      if (current === undefined) continue;
      operations.push(update(instanceSpecRecords, current, spec));
      nodeIds.add(spec.nodeId);
    }
    for (const status of plan.statuses) {
      const current = view.get(deploymentStatusRecords, status.id);
      if (current !== undefined) operations.push(update(deploymentStatusRecords, current, status));
    }
    for (const nodeId of nodeIds) {
      const node = view.get(nodeSpecRecords, nodeId);
      if (node === undefined) continue;
      operations.push(update(nodeSpecRecords, node, { ...node.document, placementGeneration: node.document.placementGeneration + 1 }));
    }
    if (plan.environment !== null) operations.push(update(environmentRecords, stored, plan.environment));
    else if (operations.length > 0) operations.push(guard(environmentRecords, stored));
    return operations;
  };

  const tellUnplaced = (environment: Environment, plan: RolloutPlan): void => {
    const before = told.get(environment.id);
    for (const [slot, why] of plan.unplaced) {
      if (before?.has(slot) === true) continue;
      const [entrypoint = ''] = slot.split('/');
      context.event({
        level: 'warning',
        kind: 'instance.unplaced',
        message: `${entrypoint} of ${environment.name} waits for a Node: ${why}`,
        subject: { appId: environment.appId, environmentId: environment.id },
        runbook: 'no-capacity',
      });
    }
    if (plan.unplaced.size === 0) told.delete(environment.id);
    else told.set(environment.id, new Set(plan.unplaced.keys()));
  };

  /** One pass for one Environment; returns when it wants the next, milliseconds. */
  const reconcile = async (environmentId: string, traffic: Traffic): Promise<number | null> => {
    const stored = view.get(environmentRecords, environmentId);
    if (stored === undefined) {
      told.delete(environmentId);
      return null;
    }
    const plan = planRollout(inputOf(stored.document, traffic));
    const operations = operationsOf(stored, plan);
    if (operations.length > 0) await view.commit(...operations);
    for (const event of plan.events) context.event(event);
    tellUnplaced(stored.document, plan);
    return plan.unplaced.size === 0 ? plan.wakeInMs : Math.min(plan.wakeInMs ?? HUNGRY_RETRY_MS, HUNGRY_RETRY_MS);
  };

  return {
    name: 'rollout',
    everyMs: FULL_PASS_MS,
    wakeOn: [
      environmentRecords.name,
      deploymentRecords.name,
      deploymentStatusRecords.name,
      instanceSpecRecords.name,
      instanceStatusRecords.name,
      releaseRecords.name,
      appRecords.name,
      nodeSpecRecords.name,
      nodeStatusRecords.name,
    ],
    run: async (signal) => {
      const startedMs = clock.monotonic();
      const todo = changed.take();
      if (startedMs - lastFullMs >= FULL_PASS_MS) {
        lastFullMs = startedMs;
        for (const { document } of view.list(environmentRecords)) todo.add(document.id);
      }
      // Those that ask the Edges again soon: one of them may be what woke it.
      for (const [id, atMs] of due) if (atMs <= startedMs + TRAFFIC_POLL_MS) todo.add(id);
      const traffic = deps.trafficState();
      for (const id of todo) {
        if (signal.aborted) return undefined;
        due.delete(id);
        let nextMs: number | null;
        try {
          nextMs = await reconcile(id, traffic);
        } catch (error) {
          nextMs = isFailure(error, 'conflict') || isFailure(error, 'exists') ? CONFLICT_RETRY_MS : ERROR_RETRY_MS;
          if (nextMs === ERROR_RETRY_MS) log.error({ error, environmentId: id }, 'rollout pass failed');
        }
        if (nextMs !== null) due.set(id, clock.monotonic() + nextMs);
      }
      const nextMs = Math.min(...due.values(), lastFullMs + FULL_PASS_MS);
      return Math.max(0, nextMs - clock.monotonic());
    },
  };
}
