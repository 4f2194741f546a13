// The bounds of a bundle, the same for the side that packs and the side that unpacks.

export interface BundleLimits {
  /** Files, folders and links together. */
  readonly maxEntries: number;
  /** Bytes of all files together, unpacked. */
  readonly maxBytes: number;
  /** Longest path or link target, in bytes of UTF-8. */
  readonly maxPathBytes: number;
}

export const BUNDLE_LIMITS: BundleLimits = { maxEntries: 100_000, maxBytes: 2 ** 30, maxPathBytes: 1024 };
