// Carries out what planRollout decides: a guarded commit per Environment and pass, at most some 95 writes and as many comparisons, further
// ones for many new Instances, and those of several Environments at the same time. Only Environments that something happened to are looked
// at, and all of them now and then: the records alone decide, never what woke it.

import { setImmediate } from 'node:timers/promises';
import { isFailure } from '../../lib/failure.ts';
import { newId } from '../../lib/id.ts';
import { wantedInstances } from '../../model/effective.ts';
import { FINAL_DEPLOYMENT_PHASES } from '../../model/documents.ts';
import type { Environment } from '../../model/documents.ts';
import type { Operation, Stored } from '../../store/collection.ts';
import { guard, put, update } from '../../store/records.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { instanceStatusRecords, nodeSpecRecords, nodeStatusRecords } from '../cluster/records.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import { stopFirstBecause } from './placement.ts';
import { place } from './placing.ts';
import type { Placing } from './placing.ts';
import { createPlacer } from './rooms.ts';
import { deploymentRecords, deploymentStatusRecords, environmentRecords, instanceSpecRecords } from './records.ts';
import { createChangedEnvironments } from './changed-environments.ts';
import type { RolloutDeployment, RolloutInput, RolloutInstance, RolloutPlan, Traffic } from './rollout-input.ts';
import { TRAFFIC_POLL_MS } from './rollout-converge.ts';
import { hasEnded } from './rollout-draft.ts';
import { planRollout } from './rollout.ts';
import { servicesOf } from './rollout-slots.ts';
import { createSteadyTime } from './steady-time.ts';
import { createTurns } from './turns.ts';

const FULL_PASS_MS = 30_000;
const PER_COMMIT = 90;
/** A run takes in what comes meanwhile for so long. */
const RUN_MS = 1000;
/**
 * Looks because something happened take a fifth of the time at most: after one, the Environment rests so many times as long as it took, and
 * that for each other one that waits. A look that a plan has asked for is not put off.
 */
const REST = 4;
const MOST_REST_MS = 1000;
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
  const turns = createTurns();
  /** When something that happened is worth another look. */
  const rested = new Map<string, number>();
  /** `environment/entrypoint/slot` that were told to have no Node. */
  const told = new Map<string, ReadonlySet<string>>();
  let lastFullMs = Number.NEGATIVE_INFINITY;

  const inputOf = (environment: Environment, traffic: Traffic): RolloutInput => {
    const instances: RolloutInstance[] = view
      .by(instanceSpecRecords, 'environment', environment.id)
      .map(({ document: spec }) => ({ spec, status: view.get(instanceStatusRecords, spec.id)?.document ?? null }));
    turns.note(environment.id, instances.length);
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
      place: createPlacer(view, environment),
      stopFirst: (spec, release) => stopFirstBecause(view, environment.runtimeId, spec, release.manifest.build) !== null,
      traffic,
      maxChanges: PER_COMMIT,
      maxCreates: 4 * PER_COMMIT,
    };
  };

  let draining: ReadonlySet<string> | null = null;
  view.onChange((changes) => {
    if (changes.has(nodeSpecRecords.name)) draining = null;
  });
  const drainingNodes = (): ReadonlySet<string> =>
    (draining ??= new Set(view.list(nodeSpecRecords).flatMap(({ document }) => (document.scheduling === 'draining' ? [document.id] : []))));

  /** The writes of a Plan, each guarded by what was read. What it creates fills as many commits as it takes. */
  const placingOf = (stored: Stored<Environment>, plan: RolloutPlan): Placing => {
    const operations: Operation[] = [];
    for (const spec of plan.changes) {
      const current = view.get(instanceSpecRecords, spec.id);
      if (current !== undefined) operations.push(update(instanceSpecRecords, current, spec));
    }
    const first = plan.creates.slice(0, PER_COMMIT - operations.length);
    // Their ids are new, so nothing has to be compared.
    operations.push(...first.map((spec) => put(instanceSpecRecords, spec)));
    for (const status of plan.statuses) {
      const current = view.get(deploymentStatusRecords, status.id);
      if (current !== undefined) operations.push(update(deploymentStatusRecords, current, status));
    }
    if (plan.environment !== null) operations.push(update(environmentRecords, stored, plan.environment));
    else if (operations.length > 0) operations.push(guard(environmentRecords, stored));
    const more: Placing[] = [];
    // After a change of the Environment the next pass says whether they still shall be.
    for (let from = first.length; plan.environment === null && from < plan.creates.length; from += PER_COMMIT) {
      const placed = plan.creates.slice(from, from + PER_COMMIT);
      more.push({ placed, operations: [...placed.map((spec) => put(instanceSpecRecords, spec)), guard(environmentRecords, stored)] });
    }
    return { placed: first, operations, more };
  };

  const tellUnplaced = (environment: Environment, plan: RolloutPlan): void => {
    const before = told.get(environment.id);
    for (const [slot, { code, message, hint }] of plan.unplaced) {
      if (before?.has(slot) === true) continue;
      const [entrypoint = ''] = slot.split('/');
      context.event({
        level: 'warning',
        kind: 'instance.unplaced',
        ...(code === 'not_allowed'
          ? { message: `${entrypoint} of ${environment.name} is not started: ${message} ${hint}` }
          : { message: `${entrypoint} of ${environment.name} waits for a Node: ${message}`, runbook: 'no-capacity' }),
        subject: { appId: environment.appId, environmentId: environment.id },
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
      rested.delete(environmentId);
      turns.note(environmentId, 0);
      return null;
    }
    const { plan } = await place(context, () => {
      const beganMs = clock.monotonic();
      const plan = planRollout(inputOf(stored.document, traffic));
      const nowMs = clock.monotonic();
      rested.set(environmentId, nowMs + Math.min(MOST_REST_MS, (nowMs - beganMs) * REST * (1 + turns.size + due.size)));
      return { ...placingOf(stored, plan), plan };
    });
    for (const event of plan.events) context.event(event);
    tellUnplaced(stored.document, plan);
    return plan.unplaced.size === 0 ? plan.wakeInMs : Math.min(plan.wakeInMs ?? HUNGRY_RETRY_MS, HUNGRY_RETRY_MS);
  };

  const pass = async (id: string): Promise<void> => {
    due.delete(id);
    let nextMs: number | null;
    try {
      nextMs = await reconcile(id, deps.trafficState());
    } catch (error) {
      nextMs = isFailure(error, 'conflict') || isFailure(error, 'exists') ? CONFLICT_RETRY_MS : ERROR_RETRY_MS;
      if (nextMs === ERROR_RETRY_MS) log.error({ error, environmentId: id }, 'rollout pass failed');
    }
    if (nextMs !== null) later(id, clock.monotonic() + nextMs);
  };

  const later = (id: string, atMs: number): void => {
    due.set(id, Math.min(due.get(id) ?? atMs, atMs));
  };

  const wantedIn = (environmentId: string): number => {
    const environment = view.get(environmentRecords, environmentId)?.document;
    const id = environment?.candidateDeploymentId ?? environment?.stableDeploymentId ?? null;
    const deployment = id === null ? undefined : view.get(deploymentRecords, id)?.document;
    if (environment === undefined || deployment === undefined) return 0;
    return servicesOf(deployment).reduce(
      (sum, spec) => sum + wantedInstances(spec, null, environment.name, environment.overrides).instances,
      0,
    );
  };

  const gather = (aheadMs: number): void => {
    const nowMs = clock.monotonic();
    for (const id of changed.take()) {
      const atMs = rested.get(id) ?? nowMs;
      if (atMs <= nowMs) turns.add(id, wantedIn(id));
      else later(id, atMs);
    }
    const untilMs = nowMs + aheadMs;
    for (const [id, atMs] of due) if (atMs <= untilMs) turns.add(id, wantedIn(id));
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
      if (startedMs - lastFullMs >= FULL_PASS_MS) {
        lastFullMs = startedMs;
        for (const { document } of view.list(environmentRecords)) turns.add(document.id, wantedIn(document.id));
      }
      // Those that ask the Edges again soon, too: one of them may be what woke it.
      gather(TRAFFIC_POLL_MS);
      const busy = new Map<string, Promise<void>>();
      while (!signal.aborted) {
        // What happens meanwhile is not left to the next run, unless this one lasts.
        if (clock.monotonic() - startedMs < RUN_MS) gather(0);
        for (let id = turns.next(busy); id !== undefined; id = turns.next(busy)) {
          const environmentId = id;
          busy.set(
            id,
            pass(id).finally(() => busy.delete(environmentId)),
          );
          // A pass takes its time: whoever has something to say meanwhile is heard.
          await setImmediate();
        }
        if (busy.size === 0) break;
        await Promise.race(busy.values());
      }
      await Promise.all(busy.values());
      const nextMs = Math.min(...due.values(), lastFullMs + FULL_PASS_MS);
      return Math.max(0, nextMs - clock.monotonic());
    },
  };
}
