// Deployments by the API, for benches whose subject is control: what the Instances would run is never run.

import { randomUUID } from 'node:crypto';
import { createReadStream, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ApiClient } from '../src/cli/api-client.ts';
import { packFolder } from '../src/sys/bundle-pack.ts';

export interface Deploy {
  readonly app: string;
  readonly manifest: string;
  /** Its digest. */
  readonly bundle: string;
}

/** Uploads a bundle of one small file, made below that folder; resolves with its digest. */
export async function uploadBundle(client: ApiClient, folder: string): Promise<string> {
  const source = mkdtempSync(join(folder, 'source-'));
  writeFileSync(join(source, 'server.js'), '// never run: nothing starts it\n');
  const bundle = await packFolder(source);
  const params = { digest: bundle.digest };
  await client.blobs.upload({ params, query: { offset: 0, final: true }, body: createReadStream(bundle.path) });
  await bundle.remove();
  return bundle.digest;
}

/** Resolves with the number of the Deployment, as soon as it is taken on. */
export async function beginDeployment(client: ApiClient, { app, manifest, bundle }: Deploy): Promise<string> {
  const release = await client.releases.create({
    params: { app },
    body: { manifest, bundle, label: null, source: { kind: 'folder', description: '' } },
    idempotencyKey: randomUUID(),
  });
  const params = { app, environment: 'production' };
  const { number } = await client.deployments.create({
    params,
    body: { cause: 'deploy', release: release.number, reset: false },
    idempotencyKey: randomUUID(),
  });
  return String(number);
}

/** Resolves when it has succeeded: all is healthy, and what was before is drained. */
export async function followDeployment(client: ApiClient, app: string, deployment: string, deadlineMs: number): Promise<void> {
  const params = { app, environment: 'production', deployment };
  for await (const state of client.deployments.follow({ params, signal: AbortSignal.timeout(deadlineMs) })) {
    if (state.phase === 'succeeded') return;
    if (state.endedAtMs !== null) throw new Error(`${app}: ${state.phase} ${JSON.stringify(state.reason)}`);
  }
  throw new Error(`${app}: the stream of its Deployment ended early`);
}
