// Nodes and requests for the scheduler's tests and its benchmark.

import type { NodeRoom, PlacementRequest } from './snapshot.ts';

export const aRoom = (change: Partial<NodeRoom> = {}): NodeRoom => ({
  id: 'node-1',
  name: change.id ?? 'node-1',
  labels: {},
  closed: null,
  drivers: [{ name: 'process', artifacts: ['bundle'], limits: { cpu: '', memory: '', user: '', disk: '' } }],
  capacity: { cpu: 4, memoryBytes: 4000 },
  overcommit: { cpu: 1, memory: 1 },
  used: { cpu: 0, memoryBytes: 0 },
  freePieces: Array.from({ length: Math.floor(change.capacity?.cpu ?? 4) }, () => 100),
  ports: new Set(),
  hosts: new Set(),
  shunned: new Map(),
  perDeployment: new Map(),
  ...change,
});

export const aRequest = (change: Partial<PlacementRequest> = {}): PlacementRequest => ({
  key: 'web/0',
  ask: { cpu: 1, bind: false, memoryBytes: 100 },
  strategy: 'auto',
  labels: {},
  perNode: 0,
  deploymentKey: 'd/web',
  hostKey: 'e/web',
  near: [],
  apart: [],
  spread: null,
  stickyNodeId: null,
  fixedPort: null,
  driver: (drivers) =>
    drivers.length > 0 ? { ok: true, driver: 'process', holdsPort: true } : { ok: false, message: 'no driver', hint: '' },
  ...change,
});
