// Why a Deployment cannot succeed: the first Instance that surely cannot start tells it at once, otherwise the deadline does, with the
// best cause that is known.

import type { Deployment, Reason } from '../../model/documents.ts';
import { formatDuration } from '../../model/duration.ts';
import type { Unplaced } from '../scheduler/snapshot.ts';
import type { Draft } from './rollout-draft.ts';
import { hasEnded } from './rollout-draft.ts';
import type { RolloutInstance } from './rollout-input.ts';
import type { EntrypointState } from './rollout-slots.ts';

/** Trying again cannot help with these. */
const HOPELESS: ReadonlySet<Reason['code']> = new Set(['command_not_found', 'bundle_unreadable', 'missing_secret']);

/** The Reason of the first Instance of this Deployment that will not start; null: none so far. */
export function startFailure(draft: Draft, deployment: Deployment): Reason | null {
  for (const instance of draft.instances()) {
    const { spec, status } = instance;
    if (spec.deploymentId !== deployment.id || spec.role !== 'service' || spec.desired === 'stop' || status === null) continue;
    const failed = status.phase === 'failed' || (status.phase === 'unknown' && hasEnded(instance));
    const hopeless = status.phase === 'backoff' && status.reason !== null && HOPELESS.has(status.reason.code);
    if (failed || hopeless || status.crashLoop) return reasonOf(instance);
  }
  return null;
}

/** What an Instance in trouble says about itself. */
function reasonOf(instance: RolloutInstance): Reason {
  const { spec, status } = instance;
  if (status?.reason !== null && status?.reason !== undefined) return { ...status.reason, instanceId: spec.id };
  const exit = status?.exit ?? null;
  const how =
    exit === null
      ? 'did not start'
      : exit.signal === null
        ? `ended with exit code ${exit.code ?? 'unknown'}`
        : `was ended by ${exit.signal}`;
  return {
    code: status?.crashLoop === true ? 'crash_loop' : 'exited',
    message: `${spec.entrypoint} ${how}${status?.crashLoop === true ? ', again and again' : ''}.`,
    hint: `Look at its output: libra logs --instance ${spec.id}`,
    lastLines: [],
    instanceId: spec.id,
  };
}

/** It may not run as it asks to, or has no Node. */
export function unplacedReason(entrypoint: string, unplaced: Unplaced | null): Reason {
  return {
    ...(unplaced?.code === 'not_allowed'
      ? { code: 'not_allowed', hint: unplaced.hint }
      : { code: 'no_capacity', hint: 'Look at `libra nodes`, then ask for less or add a Node.' }),
    message: `${entrypoint}: ${unplaced?.message ?? 'It found no Node.'}`,
    lastLines: [],
    instanceId: null,
  };
}

/** An Entrypoint made no progress until its deadline. */
export function deadlineReason(draft: Draft, state: EntrypointState, unplaced: Unplaced | null): Reason {
  const { spec } = state;
  const late = `within ${formatDuration(spec.rollout.deadlineMs)}`;
  const waiting = state.slots.filter((slot) => !slot.available && !slot.over);
  const troubled = waiting.find((slot) => slot.keeper !== null && slot.keeper.status !== null && slot.keeper.status.reason !== null);
  if (troubled?.keeper !== undefined && troubled.keeper !== null) return reasonOf(troubled.keeper);
  const base = { hint: `Look at its output: libra logs --entrypoint ${spec.name}`, lastLines: [], instanceId: null };
  const [slot] = waiting;
  if (slot === undefined || slot.keeper === null) return unplacedReason(spec.name, unplaced);
  const { status } = slot.keeper;
  const about = { ...base, instanceId: slot.keeper.spec.id };
  if (status === null || status.phase === 'pending') {
    return { ...about, code: 'node_down', message: `The Node of ${spec.name} did not take it up ${late}.`, hint: 'Look at `libra nodes`.' };
  }
  if (status.healthy && !draft.input.traffic.inForce(slot.keeper.spec.id)) {
    return {
      ...about,
      code: 'deadline',
      message: `${spec.name} is healthy, but an Edge did not take up its route ${late}.`,
      hint: 'Look at `libra status`.',
    };
  }
  return {
    ...about,
    code: 'deadline',
    message: `${spec.name} did not become healthy ${late}; it was ${status.phase}.`,
    hint: `Raise \`rollout: { deadline }\` where it needs longer, or look at its output: libra logs --entrypoint ${spec.name}`,
  };
}

/** A before-deploy program that did not end well. */
export function beforeDeployReason(instance: RolloutInstance): Reason {
  const { spec, status } = instance;
  const own = reasonOf(instance);
  if (status?.phase === 'unknown' || status?.phase === 'lost') {
    return {
      ...own,
      code: 'outcome_unknown',
      message: `Nobody knows how ${spec.entrypoint} ended${status.phase === 'lost' ? ': its Node went down' : ''}. It is never run again by itself.`,
      hint: 'Find out what it did, then deploy again.',
    };
  }
  return { ...own, code: 'before_deploy_failed', message: `${spec.entrypoint}, which runs before the Deployment, failed: ${own.message}` };
}
