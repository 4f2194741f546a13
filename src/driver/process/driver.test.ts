import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { startKeeperFixture } from '../../sys/keeper-fixture.ts';
import { testDriverContract } from '../contract-suite.ts';
import type { Behaviour, DriverHarness } from '../contract-suite.ts';
import type { RunSpec } from '../contract.ts';
import { createProcessDriver } from './driver.ts';

function program(behaviour: Behaviour): string {
  const { exitAfterMs, exitCode, lines, ignoresStop } = behaviour;
  return [
    ignoresStop === true ? `process.on('SIGTERM', () => {});` : '',
    ...(lines ?? []).map((line) =>
      line.startsWith('! ')
        ? `process.stderr.write(${JSON.stringify(`${line.slice(2)}\n`)});`
        : `process.stdout.write(${JSON.stringify(`${line}\n`)});`,
    ),
    exitAfterMs === undefined ? 'setInterval(() => {}, 1000);' : `setTimeout(() => process.exit(${exitCode ?? 0}), ${exitAfterMs});`,
  ].join('\n');
}

async function processHarness(confined: boolean): Promise<DriverHarness> {
  const fixture = await startKeeperFixture();
  const create = (): ReturnType<typeof createProcessDriver> =>
    createProcessDriver({
      keeper: fixture.client,
      dataFolder: fixture.folder,
      nodeBinary: process.execPath,
      cgroups: confined,
      users: confined,
    });
  const driver = create();
  return {
    driver,
    spec: async (key, behaviour): Promise<RunSpec> => {
      const workFolder = join(fixture.folder, 'instances', key);
      mkdirSync(workFolder, { recursive: true });
      chmodSync(workFolder, 0o755);
      await driver.prepareFolders('app', [workFolder]);
      return {
        key,
        instanceId: key.split('.')[0] ?? key,
        appId: 'app',
        artifact: { kind: 'bundle', digest: 'none', sizeBytes: 0 },
        argv: behaviour.missingCommand === true ? ['no-such-command'] : ['node', '-e', program(behaviour)],
        env: {},
        workFolder,
        logFolder: join(fixture.folder, 'logs', key),
        logBytes: 1024 * 1024,
        port: null,
        resources: {
          cpu: { request: 1, limit: 2, bind: false },
          memory: { requestBytes: 2 ** 28, limitBytes: 2 ** 28 },
          diskBytes: 2 ** 30,
        },
        cores: null,
        service: true,
      };
    },
    restart: async () => create(),
    close: async () => {
      await driver.sweep(new Set());
      await driver.close();
      await fixture.close();
    },
  };
}

testDriverContract('process, confined as far as this machine permits', () => processHarness(true));
testDriverContract('process, without cgroups and users', () => processHarness(false));
