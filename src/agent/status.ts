// What others see of an Instance: the public status out of the private state.

import type { InstanceStatus } from '../model/documents.ts';
import { isCrashLoop, phaseOf } from './instance-state.ts';
import type { InstanceState } from './instance-state.ts';

/** Where it can be reached on this machine; null while it does not run, or listens nowhere. */
export function addressOf({ activity, host, port }: InstanceState): { readonly host: string; readonly port: number } | null {
  const up = activity === 'up' || activity === 'closing';
  return up && port !== null && host !== null ? { host, port } : null;
}

/** `nodeId` is filled in by control, which knows whose credential it was. */
export function statusOf(state: InstanceState, nowMs: number): InstanceStatus {
  const healthy = state.activity === 'up' && state.service && state.healthy;
  return {
    id: state.id,
    nodeId: '',
    generation: state.generation,
    phase: phaseOf(state),
    healthy,
    address: addressOf(state),
    pid: state.pid,
    restarts: state.restarts,
    crashLoop: isCrashLoop(state),
    exit: state.exit,
    reason: state.reason,
    notEnforced: state.notEnforced,
    startedAtMs: state.startedAtMs,
    healthySinceMs: healthy ? state.healthySinceMs : null,
    output: state.output,
    updatedAtMs: nowMs,
  };
}
