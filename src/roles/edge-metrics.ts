// The metrics of the Edge, asked over its admin socket, so that one /metrics tells about the whole platform.

import { request } from 'node:http';
import { sumMetrics } from './sum-metrics.ts';

const DEADLINE_MS = 1000;
/** All series that a worker may have, with long names. */
const MAX_BYTES = 32 * 1024 * 1024;

/** @param socketPaths of the workers. */
export async function edgeMetrics(socketPaths: readonly string[]): Promise<string> {
  const pages = await Promise.all(socketPaths.map(ask));
  return sumMetrics(new Map(pages.map((page, worker) => [String(worker), page])));
}

/** Prometheus text; empty where the Edge does not answer in time, for the rest is worth having without it. */
function ask(socketPath: string): Promise<string> {
  return new Promise((resolve) => {
    const call = request({ socketPath, path: '/metrics', timeout: DEADLINE_MS }, (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MAX_BYTES) call.destroy();
        else chunks.push(chunk);
      });
      response.on('error', () => resolve(''));
      response.on('end', () => resolve(response.statusCode === 200 ? Buffer.concat(chunks).toString('utf8') : ''));
    });
    call.on('timeout', () => call.destroy());
    call.on('error', () => resolve(''));
    call.end();
  });
}
