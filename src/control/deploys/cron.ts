// Schedules: each tick of the stable Deployment becomes a one-off Instance whose id follows from Environment, Entrypoint and tick, so the
// same tick can never run twice, whoever tries. Nothing runs while the Environment is stopped.

import { createHash } from 'node:crypto';
import { isFailure } from '../../lib/failure.ts';
import type { Deployment, Environment, InstanceSpec } from '../../model/documents.ts';
import type { EntrypointSpec } from '../../model/manifest-types.ts';
import type { Operation, Stored } from '../../store/collection.ts';
import { create, guard, update } from '../../store/records.ts';
import { appRecords, releaseRecords } from '../apps/records.ts';
import { powerRefusedIn } from '../auth/grants.ts';
import type { ControlContext, Reconciler } from '../context.ts';
import { schedule } from '../scheduler/schedule.ts';
import { volumeNodeOf } from './capacity.ts';
import { placedAt } from './placed.ts';
import { hasEnded, requestOf } from './placement.ts';
import { place } from './placing.ts';
import { roomsOf } from './rooms.ts';
import { deploymentRecords, deploymentStatusRecords, environmentRecords, instanceSpecRecords } from './records.ts';
import { stepOf } from './rollout-status.ts';
import { lastTickIn, nextTickMs } from './ticks.ts';

const EVERY_MS = 30_000;
const RETRY_MS = 1000;
/** A tick that is older is missed. */
const LATE_MS = 60_000;
/** A missed tick is made up for no longer. */
const MAKE_UP_MS = 7 * 24 * 3_600_000;
/** Of one schedule at once, where overlap is allowed. */
const AT_ONCE = 20;

type Schedule = NonNullable<EntrypointSpec['schedule']>;

export function createScheduleReconciler(context: ControlContext): Reconciler {
  const { view, clock, log } = context;
  /** Ticks that were left out on purpose: `environment/entrypoint` → the newest. */
  const skipped = new Map<string, number>();

  const runsOf = (environment: Environment, entrypoint: string): readonly Stored<InstanceSpec>[] =>
    view
      .by(instanceSpecRecords, 'environment', environment.id)
      .filter(({ document }) => document.role === 'schedule' && document.entrypoint === entrypoint);

  /** The tick that is due and was not dealt with; null: none. */
  const dueTick = (stored: Stored<Environment>, deployment: Deployment, entrypoint: string, plan: Schedule): number | null => {
    const environment = stored.document;
    const nowMs = clock.now();
    const status = view.get(deploymentStatusRecords, deployment.id)?.document;
    const servesSince = (status === undefined ? null : stepOf(status, 'drain')?.startedAtMs) ?? deployment.createdAtMs;
    const known = runsOf(environment, entrypoint).map(({ document }) => document.tickMs ?? 0);
    const since = Math.max(
      ...(known.length === 0 ? [servesSince] : known),
      environment.resumedAtMs ?? 0,
      skipped.get(`${environment.id}/${entrypoint}`) ?? 0,
      nowMs - (plan.missed === 'run' ? MAKE_UP_MS : LATE_MS),
    );
    // The clock was set back: what has run keeps its id, so ticks that come again are found there.
    const after = since > nowMs + LATE_MS ? nowMs - LATE_MS : since;
    const tick = lastTickIn(plan, after, nowMs);
    return tick === null || view.get(instanceSpecRecords, tickInstanceId(environment.id, entrypoint, tick)) !== undefined ? null : tick;
  };

  const leaveOut = (environment: Environment, entrypoint: string, tick: number, why: string): void => {
    skipped.set(`${environment.id}/${entrypoint}`, tick);
    context.event({
      level: 'warning',
      kind: 'schedule.skipped',
      message: `${entrypoint} of ${environment.name} did not run at ${new Date(tick).toISOString()}: ${why}`,
      subject: { appId: environment.appId, environmentId: environment.id },
    });
  };

  /** Starts the tick, or leaves it out. False: it found no Node and may be tried again. */
  const start = async (
    stored: Stored<Environment>,
    deployment: Deployment,
    spec: EntrypointSpec,
    plan: Schedule,
    tick: number,
  ): Promise<boolean> => {
    const environment = stored.document;
    const live = runsOf(environment, spec.name).filter(({ document }) => !hasEnded(view, document.id));
    if (plan.overlap === 'skip' && live.length > 0) {
      leaveOut(environment, spec.name, tick, 'the run before has not ended.');
      return true;
    }
    if (live.length >= AT_ONCE) {
      leaveOut(environment, spec.name, tick, `${AT_ONCE} runs have not ended.`);
      return true;
    }
    const refused = powerRefusedIn(view, environment, spec);
    if (refused !== undefined) {
      leaveOut(environment, spec.name, tick, `${refused.message} ${refused.hint}`);
      return true;
    }
    const build = view.get(releaseRecords, deployment.releaseId)?.document.manifest.build ?? { kind: 'none', base: null };
    const request = requestOf(spec, build, {
      key: 'tick',
      deploymentId: deployment.id,
      environmentId: environment.id,
      stickyNodeId: volumeNodeOf(view, environment, spec, 0),
      oneOff: true,
    });
    const placing = await place(context, () => {
      const found = schedule(roomsOf(view, environment.runtimeId), [request]).placed.get('tick');
      if (found === undefined) return null;
      const instance: InstanceSpec = {
        id: tickInstanceId(environment.id, spec.name, tick),
        appId: environment.appId,
        environmentId: environment.id,
        deploymentId: deployment.id,
        releaseId: deployment.releaseId,
        entrypoint: spec.name,
        role: 'schedule',
        slot: 0,
        ...placedAt(found),
        generation: 1,
        desired: 'run',
        draining: false,
        drainingSinceMs: null,
        commands: null,
        tickMs: tick,
        createdAtMs: clock.now(),
      };
      const operations: Operation[] = [create(instanceSpecRecords, instance), guard(environmentRecords, stored)];
      for (const old of plan.overlap === 'replace' ? live : []) {
        if (old.document.desired === 'stop') continue;
        const stopped: InstanceSpec = { ...old.document, desired: 'stop', generation: old.document.generation + 1 };
        operations.push(update(instanceSpecRecords, old, stopped));
      }
      return { placed: [instance], operations };
    });
    return placing !== null;
  };

  /** Deals with one schedule; returns when it is to be looked at again, milliseconds. */
  const keep = async (stored: Stored<Environment>, deployment: Deployment, spec: EntrypointSpec, plan: Schedule): Promise<number> => {
    const tick = dueTick(stored, deployment, spec.name, plan);
    if (tick !== null && !(await start(stored, deployment, spec, plan, tick))) {
      const over = plan.missed === 'skip' && clock.now() - tick >= LATE_MS - RETRY_MS;
      if (!over) return RETRY_MS;
      leaveOut(stored.document, spec.name, tick, 'no Node had room for it.');
    }
    const next = nextTickMs(plan, clock.now());
    return next === null ? EVERY_MS : Math.max(0, next - clock.now());
  };

  return {
    name: 'schedules',
    everyMs: EVERY_MS,
    wakeOn: [environmentRecords.name],
    run: async (signal) => {
      let nextMs = EVERY_MS;
      for (const { document } of view.list(environmentRecords)) {
        if (signal.aborted) return undefined;
        if (document.stopped || document.state === 'deleting' || document.stableDeploymentId === null) continue;
        const deployment = view.get(deploymentRecords, document.stableDeploymentId)?.document;
        if (deployment === undefined || view.get(appRecords, document.appId)?.document.state !== 'active') continue;
        for (const spec of Object.values(deployment.entrypoints)) {
          if (spec.run !== 'schedule' || spec.schedule === null) continue;
          // Read anew: the commit of another schedule may have passed since.
          const stored = view.get(environmentRecords, document.id);
          if (stored === undefined) break;
          try {
            nextMs = Math.min(nextMs, await keep(stored, deployment, spec, spec.schedule));
          } catch (error) {
            if (!isFailure(error, 'conflict') && !isFailure(error, 'exists'))
              log.error({ error, environmentId: document.id }, 'schedule pass failed');
            nextMs = Math.min(nextMs, RETRY_MS);
          }
        }
      }
      return nextMs;
    },
  };
}

/** A UUIDv8 (RFC 9562 §5.8) of the SHA-256 over what names the tick. */
export function tickInstanceId(environmentId: string, entrypoint: string, tickMs: number): string {
  const hex = createHash('sha256')
    .update(JSON.stringify([environmentId, entrypoint, tickMs]))
    .digest('hex');
  const variant = ((Number.parseInt(hex.slice(16, 17), 16) & 0x3) | 0x8).toString(16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
