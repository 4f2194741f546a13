// What others see of an Instance: the public status out of the private state.

import type { InstanceStatus } from '../model/documents.ts';
import { isCrashLoop, phaseOf } from './instance-state.ts';
import type { InstanceState } from './instance-state.ts';

/** `nodeId` is filled in by control, which knows whose credential it was. */
export function statusOf(state: InstanceState, nowMs: number): InstanceStatus {
  const healthy = state.activity === 'up' && state.service && state.healthy;
  const up = state.activity === 'up' || state.activity === 'closing';
  return {
    id: state.id,
    nodeId: '',
    generation: state.generation,
    phase: phaseOf(state),
    healthy,
    address: up && state.port !== null && state.host !== null ? { host: state.host, port: state.port } : null,
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
