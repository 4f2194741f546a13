// The name of an image that a Node built from a Dockerfile, which control and every agent derive alike. No registry has it.

import type { Artifact, BuildOutput } from './documents.ts';

/** @param buildId of the Instance that built it */
export const builtImage = (app: string, buildId: string): string => `libra.local/${app}:${buildId}`;

/** Digests of the blobs that an artifact can be had as from control; none: it is in a registry. */
export function blobsOf(artifact: Artifact): readonly string[] {
  if (artifact.kind === 'bundle') return [artifact.digest];
  return artifact.blob === undefined ? [] : outputBlobs(artifact.blob);
}

export const outputBlobs = ({ digest, parts = [] }: BuildOutput): readonly string[] => [digest, ...parts];
