// The contract of content-addressed storage for bundles and build results. A blob exists under its digest only when it is whole and
// verified; half an upload can be gone on with, and never read.

import type { Readable } from 'node:stream';

/** `sha256:` and 64 lower-case hex digits. */
export type Digest = string;

export interface BlobInfo {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly createdAtMs: number;
}

export interface BlobStore {
  /** undefined where there is no whole blob. */
  stat(digest: Digest): Promise<BlobInfo | undefined>;
  /** Bytes of an unfinished upload that are safe on disk; 0 for none. */
  uploadOffset(digest: Digest): Promise<number>;
  /**
   * Adds bytes at `offset` (which must equal uploadOffset, else `conflict` with details.offset). When the stream ends and `final`,
   * the digest is verified: a mismatch deletes the upload and throws `bundle_invalid`. Beyond the size limit: `too_large`.
   * Uploads of one digest exclude each other.
   */
  upload(
    digest: Digest,
    options: { readonly offset: number; readonly final: boolean; readonly body: Readable },
  ): Promise<BlobInfo | undefined>;
  /** The blob's bytes from `start` to `end` (inclusive); `not_found` where it is not whole. */
  read(digest: Digest, range?: { readonly start: number; readonly end?: number | undefined }): Promise<Readable>;
  list(): AsyncIterable<BlobInfo>;
  /** Deletes whole blobs that `keep` does not name and unfinished uploads, both only when older than `olderThanMs`. */
  collect(options: {
    readonly keep: ReadonlySet<Digest>;
    readonly olderThanMs: number;
  }): Promise<{ readonly deleted: number; readonly freedBytes: number }>;
  /** Bytes on disk. */
  usage(): Promise<number>;
  close(): Promise<void>;
}
