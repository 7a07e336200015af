"""Face sets: many faces of a few people, cut out alike, on disk, with what is known of each; what models are trained on."""
