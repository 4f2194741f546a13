// A registry of its own for a test, on loopback and behind a login, with images that an engine pushes there.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { until } from '../../sys/keeper-fixture.ts';
import type { TestDocker } from './dockerd-fixture.ts';

const USER = 'puller';
const PASSWORD = 'knock-knock';
/** Of that password, as `htpasswd -B` writes it. */
const PASSWORD_LINE = 'puller:$2y$05$V70DizzGy1GykCH2N3sWpeuJdeygb2vSEOpxu4QxgLgH90BHrPdry';

export interface TestRegistry {
  /** `127.0.0.1:port`. */
  readonly host: string;
  /** File with the login, as `docker login` writes it. */
  readonly loginFile: string;
  /** Pushes an image of the engine under that name and deletes it there. Answers its reference by digest. */
  push(docker: TestDocker, image: string, name: string): Promise<string>;
  stop(): Promise<void>;
}

export async function startTestRegistry(port: number): Promise<TestRegistry> {
  const folder = mkdtempSync(join(tmpdir(), 'libra-registry-'));
  const at = (name: string): string => join(folder, name);
  const host = `127.0.0.1:${port}`;
  const config = {
    version: 0.1,
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: at('images') } },
    http: { addr: host },
    auth: { htpasswd: { realm: 'test', path: at('passwords') } },
  };
  writeFileSync(at('config.yml'), JSON.stringify(config)); // every JSON is YAML
  writeFileSync(at('passwords'), `${PASSWORD_LINE}\n`);
  const auth = Buffer.from(`${USER}:${PASSWORD}`).toString('base64');
  writeFileSync(at('config.json'), JSON.stringify({ auths: { [host]: { auth } } }));
  const child = spawn('docker-registry', ['serve', at('config.yml')], { stdio: 'ignore' });
  await until('the registry answers', async () => (await fetch(`http://${host}/v2/`).catch(() => null))?.status === 401);
  return {
    host,
    loginFile: at('config.json'),
    push: async (docker, image, name) => docker.push(image, `${host}/${name}`, { username: USER, password: PASSWORD, serveraddress: host }),
    stop: async () => {
      const gone = once(child, 'exit');
      child.kill('SIGTERM');
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
