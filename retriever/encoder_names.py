"""How encoders are named; apart from the encoders, so that settings can say it without torch."""

ENCODER_NAMES = (
    "'starter', the folder or Hugging Face Hub id of a sentence encoder, "
    "'contriever:MODEL', 'bge:MODEL' or 'e5:MODEL' where the model's own files do not tell its "
    "kind, 'dpr:QUESTION_MODEL,PASSAGE_MODEL', or 'realm:FOLDER'"
)
