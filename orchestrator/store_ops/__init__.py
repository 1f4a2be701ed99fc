"""Operations on whole stores: status, verification, compaction, import, densities."""
