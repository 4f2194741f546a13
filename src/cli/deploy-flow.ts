// From a folder to a healthy Deployment: manifest, plan, bundle, upload, Release, Deployment, follow. Used by `deploy` and by
// `up --example`. Every write carries an idempotency key, so that a retry after a broken connection never makes two.

import { createReadStream } from 'node:fs';
import { newToken } from '../lib/id.ts';
import { Failure, isFailure } from '../lib/failure.ts';
import { packFolder } from '../sys/bundle-pack.ts';
import type { CanaryBody } from './canary-options.ts';
import type { CommandContext } from './command.ts';
import type { DeploySource } from './deploy-source.ts';
import { followDeployment } from './follow-deployment.ts';
import type { DeploymentView } from './follow-deployment.ts';
import { counted, formatBytes, formatDuration } from './output.ts';
import { printPlan, refuseIfNeeded } from './plan-view.ts';
import type { ApiClient } from './api-client.ts';

export interface DeployOptions {
  readonly environment: string;
  readonly label: string | null;
  readonly reset: boolean;
  /** How it is tried beside what serves; null: rolled out at once; undefined: as the manifest says. */
  readonly canary: CanaryBody | null | undefined;
  /** Print plan and steps. */
  readonly quiet: boolean;
}

const UPLOAD_TRIES = 5;

async function* metered(stream: AsyncIterable<Uint8Array>, onBytes: (bytes: number) => void): AsyncIterable<Uint8Array> {
  for await (const chunk of stream) {
    onBytes(chunk.length);
    yield chunk;
  }
}

/** Uploads what is missing, going on after a break where the platform says it stands. */
async function upload(
  context: CommandContext,
  client: ApiClient,
  bundle: { readonly path: string; readonly digest: string; readonly sizeBytes: number },
): Promise<'uploaded' | 'known'> {
  const params = { digest: bundle.digest };
  for (let attempt = 1; ; attempt += 1) {
    const state = await client.blobs.stat({ params });
    if (state.complete) return attempt === 1 ? 'known' : 'uploaded';
    let sent = state.offset;
    const body = metered(createReadStream(bundle.path, { start: state.offset, highWaterMark: 256 * 1024 }), (bytes) => {
      sent += bytes;
      context.output.progress(`Uploading ${formatBytes(sent)} of ${formatBytes(bundle.sizeBytes)} …`);
    });
    try {
      await client.blobs.upload({ params, query: { offset: state.offset, final: true }, body, signal: context.signal });
      return 'uploaded';
    } catch (error) {
      const again = isFailure(error) && (error.code === 'unreachable' || error.code === 'timeout' || error.code === 'conflict');
      if (!again || attempt >= UPLOAD_TRIES || context.signal.aborted) throw error;
      await context.clock.sleep(300 * attempt, context.signal);
    } finally {
      context.output.progress('');
    }
  }
}

/** Carries a Deployment out to its end. Resolves with its last view when it is healthy and drained; throws otherwise. */
export async function deploySource(context: CommandContext, source: DeploySource, options: DeployOptions): Promise<DeploymentView> {
  const { output } = context;
  const client = await context.client();
  const { manifest } = source;
  const canary = options.canary === undefined ? {} : { canary: options.canary };
  const plan = await client.plans.create({
    body: { environment: options.environment, manifest: source.manifestText, reset: options.reset, ...canary },
  });
  if (!options.quiet) {
    output.line(`${output.style('bold', manifest.app)} → ${options.environment}${plan.runtime === 'default' ? '' : ` on ${plan.runtime}`}`);
    printPlan(output, plan);
  }
  refuseIfNeeded(plan);

  let digest: string | null = null;
  if (manifest.build.kind !== 'image') {
    const began = performance.now();
    output.progress('Packing …');
    const bundle = await packFolder(source.folder);
    try {
      const how = await upload(context, client, bundle);
      digest = bundle.digest;
      if (!options.quiet) {
        const what = how === 'known' ? 'unchanged, already uploaded' : 'uploaded';
        output.line(
          `  Bundle: ${counted(bundle.files, 'file')}, ${formatBytes(bundle.sizeBytes)}, ${what} ${output.style('dim', `(${formatDuration(performance.now() - began)})`)}`,
        );
      }
    } finally {
      await bundle.remove();
    }
  }
  if (context.signal.aborted) throw new Failure('canceled', { message: 'Interrupted; nothing was deployed.' });
  const release = await client.releases.create({
    params: { app: manifest.app },
    body: {
      manifest: source.manifestText,
      bundle: digest,
      label: options.label,
      source: { kind: manifest.build.kind === 'image' ? 'image' : 'folder', description: source.detected ? 'detected' : '' },
    },
    idempotencyKey: newToken('release'),
  });
  const deployment = await client.deployments.create({
    params: { app: manifest.app, environment: options.environment },
    body: { cause: 'deploy', release: release.number, reset: options.reset, ...canary },
    idempotencyKey: newToken('deployment'),
  });
  if (!options.quiet) output.line(`  Release ${release.number}, Deployment ${deployment.number}`);
  return await followDeployment(context, deployment, { quiet: options.quiet });
}
