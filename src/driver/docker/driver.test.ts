import { after, before, describe } from 'node:test';
import { lacking } from '../../../test/requirements.ts';
import { testDriverContract } from '../contract-suite.ts';
import type { Behaviour, DriverHarness } from '../contract-suite.ts';
import { startTestDocker } from './dockerd-fixture.ts';
import type { TestDocker } from './dockerd-fixture.ts';
import { createDriverFixture } from './driver-fixture.ts';

const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** As a script for the shell of busybox, which the image has. */
function program({ exitAfterMs, exitCode, lines, ignoresStop }: Behaviour): string {
  return [
    ignoresStop === true ? "trap '' TERM" : '',
    ...(lines ?? []).map((line) => (line.startsWith('! ') ? `echo ${quote(line.slice(2))} >&2` : `echo ${quote(line)}`)),
    exitAfterMs === undefined ? 'while :; do sleep 1; done' : `sleep ${exitAfterMs / 1000}; exit ${exitCode ?? 0}`,
  ].join('\n');
}

describe('docker', { skip: lacking('dockerd') }, () => {
  let docker: TestDocker;
  let image = '';
  before(async () => {
    docker = await startTestDocker();
    image = await docker.image('busybox-test');
  });
  after(() => docker.stop());

  testDriverContract('docker', async (): Promise<DriverHarness> => {
    const fixture = createDriverFixture(docker, image);
    let driver = await fixture.create();
    return {
      get driver() {
        return driver;
      },
      spec: async (key, behaviour) =>
        fixture.spec(key, program(behaviour), behaviour.missingCommand === true ? { argv: ['no-such-command'] } : {}),
      // One agent at a time writes the log of an Instance.
      restart: async () => {
        await driver.close();
        driver = await fixture.create();
        return await fixture.create();
      },
      close: async () => {
        await driver.sweep(new Set());
        await driver.close();
        fixture.remove();
      },
    };
  });
});
