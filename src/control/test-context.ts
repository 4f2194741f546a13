// What tests of control modules stand on: a real store in memory with its view, a clock that stands still, and documents with every
// field filled in, of which a test names only what it is about.

import type { BlobStore } from '../blob/blob.ts';
import { createFakeClock } from '../lib/clock.ts';
import type { FakeClock } from '../lib/clock.ts';
import { Failure } from '../lib/failure.ts';
import { createSeededRandom } from '../lib/id.ts';
import type {
  App,
  Deployment,
  DevSession,
  Environment,
  InstanceSpec,
  InstanceStatus,
  NodeSpec,
  NodeStatus,
  Release,
} from '../model/documents.ts';
import type { EntrypointSpec } from '../model/manifest-types.ts';
import { createMemoryStore } from '../store/memory.ts';
import { create } from '../store/records.ts';
import { createView } from '../store/view.ts';
import { silentLog } from '../sys/log.ts';
import { appRecords, releaseRecords } from './apps/records.ts';
import { nodeSpecRecords } from './cluster/records.ts';
import { allCollections } from './collections.ts';
import type { ControlContext, ControlSettings, EventInput } from './context.ts';
import { deploymentRecords, environmentRecords } from './deploys/records.ts';
import type { Call, Principal } from './handler.ts';
import { createChangeFeed } from './librad/change-feed.ts';
import type { ChangeFeed } from './librad/change-feed.ts';
import { kvRecords } from './librad/records.ts';

export interface TestContext extends ControlContext {
  readonly clock: FakeClock;
  readonly events: EventInput[];
  /** Of what Apps keep under keys. */
  readonly feed: ChangeFeed;
  close(): Promise<void>;
}

const unusedBlobs = new Proxy({} as BlobStore, {
  // A test that needs blobs brings its own; this one only has the type.
  get: () => () => {
    throw new Failure('internal', { message: 'This test has no blobs.' });
  },
});

/** Of a control plane whose settings are not what a test or a bench is about. */
export const TEST_SETTINGS: ControlSettings = {
  version: '0.0.0',
  domain: 'localhost',
  publicScheme: 'http',
  publicPort: 8080,
  publicHttpsPort: 8443,
  apiThroughEdge: false,
  acme: null,
  bundleBytes: 1e6,
  nodeGraceMs: 30_000,
  retainEndedMs: 60_000,
  retainReleases: 3,
  kv: { keys: 100, bytes: 64 * 1024, valueBytes: 4096 },
};

export async function createTestContext(settings: Partial<ControlSettings> = {}): Promise<TestContext> {
  const clock = createFakeClock();
  const random = createSeededRandom(7);
  const store = createMemoryStore({ clock });
  const feed = createChangeFeed({ store, clock, prefix: `${kvRecords.name}/` });
  const running = createView({ store, collections: allCollections, clock, onBatch: feed.push, onLoaded: feed.restart });
  await running.start();
  const events: EventInput[] = [];
  return {
    clock,
    random,
    store,
    view: running.view,
    log: silentLog,
    blobs: unusedBlobs,
    settings: { ...TEST_SETTINGS, ...settings },
    event: (event) => events.push(event),
    events,
    feed,
    close: async () => {
      await running.stop();
      await store.close();
    },
  };
}

export const anEntrypoint = (change: Partial<EntrypointSpec> = {}): EntrypointSpec => ({
  name: 'web',
  run: 'service',
  command: ['node', 'server.js'],
  image: null,
  port: null,
  listens: true,
  env: {},
  instances: 1,
  resources: { cpu: { request: 0.1, limit: 1, bind: false }, memory: { requestBytes: 1e6, limitBytes: 1e6 }, diskBytes: 1e6 },
  health: { probe: { kind: 'tcp' }, intervalMs: 1000, timeoutMs: 500, healthy: 1, unhealthy: 3, graceMs: 1000 },
  routes: null,
  rollout: { surge: 1, unavailable: 0, deadlineMs: 60_000, drainMs: 10_000 },
  placement: { strategy: 'auto', labels: {}, perNode: 0 },
  singleton: false,
  disconnect: { stopAfterMs: 30_000, replaceAfterMs: 60_000 },
  restart: 'always',
  stop: { signal: 'SIGTERM', timeoutMs: 5000 },
  hooks: { afterStart: [], beforeStop: [], required: false },
  volumes: [],
  files: [],
  schedule: null,
  ...change,
});

export const anApp = (change: Partial<App> = {}): App => ({
  id: 'app-1',
  name: 'shop',
  teamId: 'team-1',
  gitUrl: null,
  lastRelease: 1,
  state: 'active',
  createdAtMs: 1,
  ...change,
});

export const aRelease = (change: Partial<Release> = {}): Release => ({
  id: 'release-1',
  appId: 'app-1',
  number: 1,
  label: null,
  source: { kind: 'folder', description: '' },
  manifest: {
    app: 'shop',
    build: { kind: 'none', base: null },
    env: {},
    entrypoints: { web: anEntrypoint() },
    provides: {},
    uses: [],
    environments: {},
  },
  bundle: { digest: `sha256:${'0'.repeat(64)}`, sizeBytes: 1 },
  artifact: { kind: 'bundle', digest: `sha256:${'0'.repeat(64)}`, sizeBytes: 1 },
  state: 'ready',
  buildInstanceId: null,
  reason: null,
  createdAtMs: 1,
  createdBy: 'owner',
  ...change,
});

export const anEnvironment = (change: Partial<Environment> = {}): Environment => ({
  id: 'environment-1',
  appId: 'app-1',
  name: 'production',
  runtimeId: 'runtime-1',
  generation: 1,
  stableDeploymentId: 'deployment-1',
  candidateDeploymentId: null,
  lastDeployment: 1,
  overrides: { entrypoints: {} },
  stopped: false,
  state: 'active',
  createdAtMs: 1,
  ...change,
});

export const aDeployment = (change: Partial<Deployment> = {}): Deployment => ({
  id: 'deployment-1',
  appId: 'app-1',
  environmentId: 'environment-1',
  releaseId: 'release-1',
  number: 1,
  cause: 'deploy',
  fromDeploymentId: null,
  runBeforeDeploy: true,
  entrypoints: { web: anEntrypoint() },
  env: {},
  files: {},
  createdAtMs: 1,
  createdBy: 'owner',
  ...change,
});

export const anInstance = (change: Partial<InstanceSpec> = {}): InstanceSpec => ({
  id: 'instance-1',
  appId: 'app-1',
  environmentId: 'environment-1',
  deploymentId: 'deployment-1',
  releaseId: 'release-1',
  entrypoint: 'web',
  role: 'service',
  slot: 0,
  nodeId: 'node-1',
  generation: 1,
  desired: 'run',
  draining: false,
  drainingSinceMs: null,
  commands: null,
  tickMs: null,
  createdAtMs: 1,
  ...change,
});

export const aStatus = (change: Partial<InstanceStatus> = {}): InstanceStatus => ({
  id: 'instance-1',
  nodeId: 'node-1',
  generation: 1,
  phase: 'running',
  healthy: true,
  address: { host: '127.0.0.1', port: 20_000 },
  pid: 1,
  restarts: 0,
  crashLoop: false,
  exit: null,
  reason: null,
  notEnforced: [],
  startedAtMs: 1,
  healthySinceMs: 1,
  output: null,
  updatedAtMs: 0,
  ...change,
});

export const aNode = (change: Partial<NodeSpec> = {}): NodeSpec => ({
  id: 'node-1',
  name: 'laptop',
  runtimeId: 'runtime-1',
  labels: {},
  scheduling: 'open',
  createdAtMs: 1,
  ...change,
});

export const aNodeStatus = (change: Partial<NodeStatus> = {}): NodeStatus => ({
  id: 'node-1',
  state: 'up',
  drivers: [],
  capacity: { cpu: 2, memoryBytes: 1e9 },
  platform: { os: 'linux', arch: 'x64', program: '0.1.0' },
  bootId: 'boot-1',
  lastSeenMs: 1,
  ...change,
});

export const aSession = (change: Partial<DevSession> = {}): DevSession => ({
  id: 'session-1',
  appId: 'app-1',
  environmentId: 'environment-1',
  entrypoint: 'web',
  mode: 'personal',
  key: 'ana',
  owner: 'owner',
  from: 'ana@laptop',
  hash: 'hash',
  paths: ['/'],
  attached: null,
  lastAttachedMs: 1,
  createdAtMs: 1,
  expiresAtMs: Number.MAX_SAFE_INTEGER,
  ...change,
});

/** One App with a Release, an Environment, its stable Deployment and a Node, all under the default ids. */
export async function seedApp(context: ControlContext): Promise<void> {
  await context.view.commit(
    create(appRecords, anApp()),
    create(releaseRecords, aRelease()),
    create(environmentRecords, anEnvironment()),
    create(deploymentRecords, aDeployment()),
    create(nodeSpecRecords, aNode()),
  );
}

export const owner: Principal = { kind: 'owner', name: 'owner', permissions: new Set() };
export const nodePrincipal: Principal = { kind: 'node', nodeId: 'node-1', name: 'node/laptop', permissions: new Set() };
export const edgePrincipal: Principal = { kind: 'edge', nodeId: 'node-1', name: 'edge/laptop', permissions: new Set() };

/** A call as the server would make it. `E` is the endpoint. */
export function callOf<E>(parts: Partial<Call<E>> & Pick<Call<E>, 'params' | 'query' | 'body'>): Call<E> {
  return {
    principal: owner,
    requestId: 'request-1',
    signal: new AbortController().signal,
    lastEventId: null,
    stream: null,
    range: null,
    ...parts,
  };
}
