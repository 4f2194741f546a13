import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatProblem, parseManifest } from './manifest.ts';

/** Problems of `app: a` and these further lines, as `line:column: path: message`; the first further line is line 2. */
function problemsOf(text: string): readonly string[] {
  return parseManifest(`app: a\n${text}`, 'f').problems.map((problem) => formatProblem(problem).slice(2));
}

test('fields of services mean nothing to what runs once and ends', () => {
  assert.deepEqual(
    problemsOf(`entrypoints:
  nightly: { command: x, schedule: "0 3 * * *", routes: [], instances: 2 }
  migrate: { command: x, run: before-deploy, health: { tcp: true }, restart: always }
  tool: { command: x, run: manual, port: 80 }
`),
    [
      '3:49: entrypoints.nightly.routes: has no meaning for an Entrypoint that runs on a schedule',
      '3:61: entrypoints.nightly.instances: has no meaning for an Entrypoint that runs on a schedule',
      '4:46: entrypoints.migrate.health: has no meaning for an Entrypoint that runs before a Deployment',
      '4:78: entrypoints.migrate.restart: cannot be always for an Entrypoint that runs before a Deployment',
      '5:36: entrypoints.tool.port: has no meaning for an Entrypoint that runs on request',
    ],
  );
});

test('a schedule excludes other kinds of run and is needed by its own fields', () => {
  assert.deepEqual(
    problemsOf(`entrypoints:
  a: { command: x, schedule: "0 3 * * *", run: before-deploy }
  b: { command: x, run: schedule }
  c: { command: x, timezone: UTC, overlap: skip }
`),
    [
      '3:48: entrypoints.a.run: cannot be before-deploy for an Entrypoint with a schedule; remove one of the two',
      '4:25: entrypoints.b.run: needs `schedule`, such as "0 3 * * *"',
      '5:20: entrypoints.c.timezone: has no meaning without `schedule`',
      '5:35: entrypoints.c.overlap: has no meaning without `schedule`',
    ],
  );
});

test('cron expressions and time zones are read as they will be when they count', () => {
  const schedule = (cron: string, more = '') => problemsOf(`entrypoints: { a: { command: x, schedule: "${cron}"${more} } }`);
  for (const cron of ['0 3 * * *', '*/5 * * * *', '0 0 L * *', '30 0 3 * * *', '@daily', '0 9 * * MON-FRI'])
    assert.deepEqual(schedule(cron), [], cron);
  assert.match(schedule('61 * * * *')[0] ?? '', /^2:43: .*not a valid cron expression: Invalid value for minute: 61/u);
  assert.match(schedule('0 3 * *')[0] ?? '', /expected five fields .* found 4/u);
  assert.match(schedule('0 0 31 2 *')[0] ?? '', /never comes/u);
  assert.match(schedule('0 3 * * *', ', timezone: Mars/Base')[0] ?? '', /expected a time zone/u);
});

test('a singleton is never two, here or in an Environment', () => {
  assert.deepEqual(
    problemsOf(`entrypoints:
  a: { command: x, singleton: true, instances: 2 }
  b: { command: x, disconnect: { stopAfter: 30s } }
  c: { command: x, singleton: true, disconnect: { stopAfter: 30s, replaceAfter: 10s } }
environments: { staging: { entrypoints: { a: { instances: 3 } } } }
`),
    [
      '3:48: entrypoints.a.instances: cannot be 2 for a singleton: never two of it run at once',
      '4:20: entrypoints.b.disconnect: has a meaning only with `singleton: true`',
      '5:81: entrypoints.c.disconnect.replaceAfter: cannot be less than stopAfter',
      '6:59: environments.staging.entrypoints.a.instances: cannot be 3 for a singleton: never two of it run at once',
    ],
  );
});

test('a limit below its request and a rollout that could never move are refused', () => {
  assert.deepEqual(
    problemsOf(`entrypoints:
  a: { command: x, resources: { cpu: { request: 2, limit: 1 }, memory: { request: 1Gi, limit: 512Mi } } }
  b: { command: x, resources: { cpu: { cores: 2, limit: 1 } } }
  c: { command: x, rollout: { surge: 0 } }
  d: { command: x, placement: { strategy: fill }, instances: 2 }
`),
    [
      '3:59: entrypoints.a.resources.cpu.limit: cannot be less than request',
      '3:95: entrypoints.a.resources.memory.limit: cannot be less than request',
      '4:50: entrypoints.b.resources.cpu.limit: cannot stand next to cores',
      '5:29: entrypoints.c.rollout: with surge 0 and unavailable 0 no Instance could ever be replaced; raise one of them',
      '6:43: entrypoints.d.placement.strategy: fill needs `perNode`: how many Instances each of its Nodes gets',
    ],
  );
});

test('one health check per Entrypoint', () => {
  assert.deepEqual(problemsOf('entrypoints: { a: { command: x, health: { http: /, tcp: true } } }'), [
    '2:52: entrypoints.a.health.tcp: cannot stand next to http: choose one check',
  ]);
});

test('volumes, files and routes that are there twice are refused at the second', () => {
  assert.deepEqual(
    problemsOf(`entrypoints:
  web:
    command: x
    volumes: [ { name: a, path: /x }, { name: a, path: /x } ]
    files: [ { secret: a, path: /f }, { secret: b, path: /f } ]
    routes: [ { host: a.example.com }, { host: a.example.com, path: / } ]
  api: { command: y, routes: [ { path: /e }, { path: /e/, match: {} }, { path: { exact: /e } } ] }
`),
    [
      '5:47: entrypoints.web.volumes.1.name: a is there twice',
      '5:56: entrypoints.web.volumes.1.path: /x is there twice',
      '6:58: entrypoints.web.files.1.path: /f is there twice',
      '7:40: entrypoints.web.routes.1: the same route is there twice',
      '8:46: entrypoints.api.routes.1: the same route is there twice',
    ],
  );
});

test('two Entrypoints cannot claim the same port or the same route', () => {
  assert.deepEqual(
    problemsOf(`entrypoints:
  web: { command: x, port: 80 }
  api: { command: y, port: 80, routes: [ { path: / }, { path: /api } ] }
`),
    [
      '4:28: entrypoints.api.port: the fixed port 80 is taken by the Entrypoint web',
      '4:42: entrypoints.api.routes.0: the default host/ already leads to the Entrypoint web',
    ],
  );
});

test('images may share a port, which is one inside of each; a process keeps its own', () => {
  const ports = (web: string, api: string): string => `entrypoints: { web: { ${web}, port: 80 }, api: { ${api}, port: 80 } }\n`;
  assert.deepEqual(problemsOf(`build: { image: "shop:1" }\n${ports('command: x', 'command: y')}`), []);
  assert.deepEqual(problemsOf(ports('image: "shop:1"', 'command: y')), []);
  assert.equal(problemsOf(`build: { base: "node:24" }\n${ports('command: x', 'command: y')}`).length, 1);
});

test('a Service has one address, in a variable of its own', () => {
  assert.deepEqual(
    problemsOf(`uses: [billing.invoices, librad.kv, mail.out, billing/staging.invoices, billing.bills, mail.out]
entrypoints: { web: { command: x } }
`),
    [
      '2:47: uses.3: billing/staging.invoices is the same Service as billing.invoices',
      '2:88: uses.5: mail.out is the same Service as mail.out',
    ],
  );
  assert.deepEqual(
    problemsOf(`uses: [a-b.c, a.b-c]
entrypoints: { web: { command: x } }
`),
    ['2:15: uses.1: the address of a.b-c would stand in LIBRA_SERVICE_A_B_C, as that of a-b.c: rename one of the Services'],
  );
});

test('references to Entrypoints that are not there name the nearest', () => {
  assert.deepEqual(
    problemsOf(`entrypoints: { web: { command: x }, nightly: { command: y, schedule: "0 3 * * *" } }
provides: { orders: { entrypoint: wbe }, reports: { entrypoint: nightly } }
environments: { staging: { entrypoints: { wob: {}, nightly: { instances: 1 } } } }
`),
    [
      '3:35: provides.orders.entrypoint: there is no Entrypoint wbe; did you mean web?',
      '3:65: provides.reports.entrypoint: the Entrypoint nightly does not run all the time and cannot answer a Service',
      '4:43: environments.staging.entrypoints.wob: there is no Entrypoint wob; did you mean web?',
      '4:63: environments.staging.entrypoints.nightly.instances: has no meaning for nightly, which is not a service',
    ],
  );
});

test('a build is of one kind, and its paths stay in the folder', () => {
  assert.deepEqual(problemsOf('build: { image: x, dockerfile: y, base: z, commands: [make] }'), [
    '2:20: build.dockerfile: cannot stand next to image: choose one',
    '2:35: build.base: has no meaning next to image',
    '2:44: build.commands: has no meaning next to image',
  ]);
  assert.deepEqual(problemsOf('build: { static: ../x }'), [
    '2:18: build.static: expected a path inside the folder, but ../x leads out of it',
  ]);
  assert.deepEqual(problemsOf('build: { dockerfile: /etc/x }'), [
    '2:22: build.dockerfile: expected a path inside the folder, found the absolute path /etc/x',
  ]);
});

test('a mistake in one Entrypoint hides nothing of the others and nothing of its own', () => {
  assert.deepEqual(
    problemsOf(`entrypoints:
  web: { command: 'say "x', instances: -1, singleton: true, schedule: "x" }
  worker: { command: a | b, volumes: [ { name: A, path: ../x } ] }
`).map((problem) => problem.split(': ')[1]),
    [
      'entrypoints.web.command',
      'entrypoints.web.instances',
      'entrypoints.web.instances',
      'entrypoints.web.singleton',
      'entrypoints.web.schedule',
      'entrypoints.worker.command',
      'entrypoints.worker.volumes.0.name',
      'entrypoints.worker.volumes.0.path',
    ],
  );
});

test('Entrypoints can only be near to or apart from others that are there', () => {
  assert.deepEqual(
    problemsOf(`entrypoints:
  web: { command: x, placement: { near: [wbe, web, nightly], apart: [web] } }
  nightly: { command: y, schedule: "0 3 * * *" }
`),
    [
      '3:42: entrypoints.web.placement.near.0: there is no Entrypoint wbe; did you mean web?',
      '3:47: entrypoints.web.placement.near.1: is this Entrypoint itself, which would never find a Node',
      '3:52: entrypoints.web.placement.near.2: the Entrypoint nightly does not run all the time',
    ],
  );
});
