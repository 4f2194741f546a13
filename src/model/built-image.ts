// The name of an image that a Node built from a Dockerfile, which control and every agent derive alike. No registry has it.

import type { Artifact } from './documents.ts';

/** @param buildId of the Instance that built it */
export const builtImage = (app: string, buildId: string): string => `libra.local/${app}:${buildId}`;

/** Digest of the file that an artifact can be had as from control; null: it is in a registry. */
export const blobOf = (artifact: Artifact): string | null =>
  artifact.kind === 'bundle' ? artifact.digest : (artifact.blob?.digest ?? null);
