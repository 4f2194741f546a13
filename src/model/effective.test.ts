import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DriverInfo, EnvSource } from './documents.ts';
import { chooseDriver } from './compatibility.ts';
import { describeDifferences } from './differences.ts';
import type { Desired } from './differences.ts';
import { effectiveEntrypoints, effectiveEnv, effectiveRoutes, secretsUsed, wantedInstances } from './effective.ts';
import { parseManifest } from './manifest.ts';
import type { EntrypointSpec, Manifest } from './manifest-types.ts';
import { defaultHost, isHostName, isRouteHost, isName, toName } from './names.ts';

function manifestOf(text: string): Manifest {
  const { manifest, problems } = parseManifest(text);
  assert.deepEqual(problems, []);
  assert.ok(manifest !== null);
  return manifest;
}

function specOf(manifest: Manifest, environment: string, name: string): EntrypointSpec {
  const spec = effectiveEntrypoints(manifest, environment)[name];
  assert.ok(spec !== undefined);
  return spec;
}

const SHOP = manifestOf(`
app: shop
env: { A: app, B: app, C: app, D: app, KEY: { secret: shared } }
entrypoints:
  web: { command: x, instances: 2, env: { B: web, C: web, D: web }, routes: [ { host: shop.example.com }, { host: www.example.com }, { host: shop.example.com, path: /old } ] }
  api: { command: y, env: { TOKEN: { secret: token } }, files: [ { secret: tls, path: /tls } ], routes: [ { host: shop.example.com, path: /api }, { host: api.example.com } ] }
  worker: { command: z, singleton: true }
  nightly: { command: n, schedule: "0 3 * * *" }
environments:
  staging: { env: { C: staging, D: staging }, entrypoints: { web: { instances: 1, env: { D: staging-web } }, worker: { resources: { cpu: 2 } } } }
  beta: { entrypoints: { web: { routes: [ { host: beta.example.com } ] } } }
`);

test('values of an Environment are stronger than those of the Entrypoint, and those than the App’s', () => {
  assert.deepEqual(effectiveEnv(SHOP, 'staging', 'web'), { A: 'app', B: 'web', C: 'staging', D: 'staging-web', KEY: { secret: 'shared' } });
  assert.deepEqual(effectiveEnv(SHOP, 'production', 'worker'), { A: 'app', B: 'app', C: 'app', D: 'app', KEY: { secret: 'shared' } });
  assert.deepEqual(effectiveEnv(SHOP, 'constructor', 'constructor'), SHOP.env);
});

test('an override of scale is strongest, then the Environment, then the Entrypoint', () => {
  const none = { entrypoints: {} };
  const web = specOf(SHOP, 'staging', 'web');
  assert.deepEqual(wantedInstances(web, SHOP, 'staging', { entrypoints: { web: { instances: 5 } } }), { instances: 5, source: 'override' });
  assert.deepEqual(wantedInstances(web, SHOP, 'staging', none), { instances: 1, source: 'environment' });
  assert.deepEqual(wantedInstances(specOf(SHOP, 'production', 'web'), SHOP, 'production', none), { instances: 2, source: 'entrypoint' });
  assert.deepEqual(wantedInstances(web, null, 'staging', none), { instances: 1, source: 'entrypoint' });
});

test('a singleton is never scaled beyond one, and what is no service has no Instances of its own', () => {
  const scaled = { entrypoints: { worker: { instances: 3 }, nightly: { instances: 3 } } };
  assert.equal(wantedInstances(specOf(SHOP, 'production', 'worker'), SHOP, 'production', scaled).instances, 1);
  assert.equal(
    wantedInstances(specOf(SHOP, 'production', 'worker'), SHOP, 'production', { entrypoints: { worker: { instances: 0 } } }).instances,
    0,
  );
  assert.equal(wantedInstances(specOf(SHOP, 'production', 'nightly'), SHOP, 'production', scaled).instances, 0);
});

test('resources of an Environment replace those of the Entrypoint', () => {
  assert.equal(specOf(SHOP, 'staging', 'worker').resources.cpu.limit, 2);
  assert.equal(specOf(SHOP, 'production', 'worker').resources.cpu.limit, 1);
});

function routesOf(manifest: Manifest, environment: string, name: string): readonly string[] {
  return effectiveRoutes(specOf(manifest, environment, name), manifest.app, environment, 'example.net').map(
    (route) => route.host + route.path,
  );
}

test('explicit hosts are production’s; elsewhere the paths stand at the default host, and web has the first claim', () => {
  assert.deepEqual(routesOf(SHOP, 'production', 'web'), ['shop.example.com/', 'www.example.com/', 'shop.example.com/old']);
  assert.deepEqual(routesOf(SHOP, 'staging', 'web'), ['shop--staging.example.net/', 'shop--staging.example.net/old']);
  assert.deepEqual(routesOf(SHOP, 'staging', 'api'), ['shop--staging.example.net/api']);
  assert.deepEqual(routesOf(SHOP, 'beta', 'web'), ['beta.example.com/']);
});

test('web without routes has the default host of every Environment, others have none', () => {
  const manifest = manifestOf(
    'app: a\nentrypoints: { web: { command: x }, worker: { command: y }, api: { command: z, routes: [ { path: /api } ] } }',
  );
  assert.deepEqual(routesOf(manifest, 'production', 'web'), ['a.example.net/']);
  assert.deepEqual(routesOf(manifest, 'staging', 'web'), ['a--staging.example.net/']);
  assert.deepEqual(routesOf(manifest, 'staging', 'api'), ['a--staging.example.net/api']);
  assert.deepEqual(routesOf(manifest, 'production', 'worker'), []);
});

test('routes declared as none stay none everywhere', () => {
  const manifest = manifestOf('app: a\nentrypoints: { web: { command: x, routes: [] } }');
  assert.deepEqual(routesOf(manifest, 'production', 'web'), []);
  assert.deepEqual(routesOf(manifest, 'staging', 'web'), []);
});

test('every use of a Secret is listed with its place', () => {
  assert.deepEqual(
    secretsUsed(SHOP, 'production').filter((use) => use.entrypoint === 'api'),
    [
      { secret: 'shared', entrypoint: 'api', where: 'env KEY' },
      { secret: 'token', entrypoint: 'api', where: 'env TOKEN' },
      { secret: 'tls', entrypoint: 'api', where: 'file /tls' },
    ],
  );
});

function desired(text: string, env: Readonly<Record<string, EnvSource>> = {}): Desired {
  const manifest = manifestOf(text);
  return { entrypoints: effectiveEntrypoints(manifest, 'production'), env: { web: env } };
}

const OLD = 'app: a\nentrypoints: { web: { command: node a.js }, worker: { command: w } }';

test('a plan tells what changes, what comes and what goes, and nothing else', () => {
  const next =
    'app: a\nentrypoints: { web: { command: [node, "b c.js"], health: { http: /up }, instances: 2 }, cron: { command: c, schedule: "0 3 * * *" } }';
  assert.deepEqual(describeDifferences(desired(OLD), desired(next)), [
    { kind: 'add', path: 'entrypoints.cron', from: null, to: 'c (at 0 3 * * * UTC)' },
    { kind: 'change', path: 'entrypoints.web.command', from: 'node a.js', to: 'node "b c.js"' },
    { kind: 'change', path: 'entrypoints.web.health.probe.kind', from: 'tcp', to: 'http' },
    { kind: 'add', path: 'entrypoints.web.health.probe.path', from: null, to: '/up' },
    { kind: 'change', path: 'entrypoints.web.instances', from: '1', to: '2' },
    { kind: 'remove', path: 'entrypoints.worker', from: 'w (1 Instance)', to: null },
  ]);
  assert.deepEqual(describeDifferences(desired(OLD), desired(OLD)), []);
});

test('a plan for something new lists what is added', () => {
  assert.deepEqual(describeDifferences(null, desired(OLD, { A: { kind: 'plain', value: '1' } })), [
    { kind: 'add', path: 'entrypoints.web', from: null, to: 'node a.js (1 Instance)' },
    { kind: 'add', path: 'entrypoints.web.env.A', from: null, to: '1' },
    { kind: 'add', path: 'entrypoints.worker', from: null, to: 'w (1 Instance)' },
  ]);
});

test('stored values are told by name and version, never by what they hold', () => {
  const at = (version: number): Readonly<Record<string, EnvSource>> => ({ KEY: { kind: 'value', valueId: 'v', name: 'key', version } });
  assert.deepEqual(describeDifferences(desired(OLD, at(1)), desired(OLD, at(2))), [
    { kind: 'change', path: 'entrypoints.web.env.KEY', from: '(key, version 1)', to: '(key, version 2)' },
  ]);
});

const LIMITS = { cpu: 'enforced', memory: 'enforced', user: 'enforced', disk: 'enforced' };
const PROCESS: DriverInfo = { name: 'process', artifacts: ['bundle'], limits: LIMITS };
const DOCKER: DriverInfo = { name: 'docker', artifacts: ['bundle', 'image'], limits: LIMITS };
const KUBERNETES: DriverInfo = { name: 'kubernetes', artifacts: ['image'], limits: LIMITS };

test('a folder runs as a process where it can, and in its base image on docker', () => {
  const manifest = manifestOf('app: a\nbuild: { base: node }\nentrypoints: { web: { command: x } }');
  const web = specOf(manifest, 'production', 'web');
  assert.deepEqual(chooseDriver([DOCKER, PROCESS], web, manifest.build), { ok: true, driver: 'process', holdsPort: true });
  assert.deepEqual(chooseDriver([DOCKER], web, manifest.build), { ok: true, driver: 'docker', holdsPort: false });
  const refused = chooseDriver([DOCKER], web, { kind: 'none', base: null });
  assert.ok(!refused.ok);
  assert.match(refused.message, /needs an image to run a folder in/u);
  assert.match(refused.hint, /base:/u);
});

test('an image runs on docker and kubernetes and is refused elsewhere with the reason', () => {
  const manifest = manifestOf('app: a\nbuild: { image: nginx }');
  const web = specOf(manifest, 'production', 'web');
  assert.deepEqual(chooseDriver([PROCESS, KUBERNETES], web, manifest.build), { ok: true, driver: 'kubernetes', holdsPort: false });
  const refused = chooseDriver([PROCESS], web, manifest.build);
  assert.ok(!refused.ok);
  assert.match(refused.message, /driver process runs folders, and this is an image/u);
  assert.ok(!chooseDriver([], web, manifest.build).ok);
});

test('names and hosts follow the rules of DNS', () => {
  assert.equal(defaultHost('shop', 'production', 'localhost'), 'shop.localhost');
  assert.equal(defaultHost('shop', 'staging', 'localhost'), 'shop--staging.localhost');
  for (const name of ['a', 'a-b', '0', 'a'.repeat(30)]) assert.ok(isName(name), name);
  for (const name of ['', '-a', 'a-', 'a--b', 'A', 'a_b', 'a.b', 'a'.repeat(31)]) assert.ok(!isName(name), name);
  for (const host of ['a', 'a.b', 'localhost', '127.0.0.1']) assert.ok(isHostName(host) && isRouteHost(host), host);
  for (const host of ['*.a.b', '*']) assert.ok(!isHostName(host) && isRouteHost(host), host);
  for (const host of ['', '*.', '**', '*a', '*.*.b', 'a.*.b', 'A.b', 'a..b', '-a.b', 'a:80']) assert.ok(!isRouteHost(host), host);
  assert.deepEqual([toName('My App_2!'), toName('--'), toName('x'.repeat(40))], ['my-app-2', null, 'x'.repeat(30)]);
});
