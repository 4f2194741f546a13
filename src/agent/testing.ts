// Desired Instances for the tests of this folder.

import type { DesiredInstance } from '../api/agent.ts';

/** A service that listens, with every field settable. */
export function desiredInstance(changes: Partial<DesiredInstance>): DesiredInstance {
  return {
    id: 'instance-1',
    generation: 1,
    desired: 'run',
    role: 'service',
    app: { id: 'app-1', name: 'shop' },
    environment: { id: 'environment-1', name: 'production' },
    release: { number: 3, label: 'abc' },
    deploymentId: 'deployment-1',
    entrypoint: 'web',
    slot: 0,
    driver: 'fake',
    artifact: { kind: 'image', reference: 'shop:3' },
    commands: [['serve', '--port', '${PORT}']],
    env: {},
    secretEnv: [],
    files: [],
    port: null,
    listens: true,
    resources: { cpu: { request: 0.1, limit: 1, bind: false }, memory: { requestBytes: 2 ** 26, limitBytes: 2 ** 28 }, diskBytes: 2 ** 30 },
    health: { probe: { kind: 'tcp' }, intervalMs: 1000, timeoutMs: 500, healthy: 1, unhealthy: 3, graceMs: 30_000 },
    restart: 'always',
    stop: { signal: 'SIGTERM', timeoutMs: 5000 },
    hooks: { afterStart: [], beforeStop: [], required: false },
    volumes: [],
    singleton: false,
    disconnect: { stopAfterMs: 30_000, replaceAfterMs: 60_000 },
    packResult: false,
    timeoutMs: null,
    ...changes,
  };
}

/** A one-off with one command. */
export function desiredOneOff(changes: Partial<DesiredInstance>): DesiredInstance {
  return desiredInstance({
    role: 'run',
    commands: [['work']],
    port: null,
    listens: false,
    restart: 'never',
    health: { probe: { kind: 'running', settleMs: 0 }, intervalMs: 1000, timeoutMs: 500, healthy: 1, unhealthy: 3, graceMs: 0 },
    timeoutMs: 60_000,
    ...changes,
  });
}
