"""How encoders are named; apart from the encoders, so that settings can say it without torch."""

ENCODER_NAMES = (
    "'starter', the folder or Hugging Face Hub id of a mean-pooled encoder, "
    "'dpr:QUESTION_MODEL,PASSAGE_MODEL', or 'realm:FOLDER'"
)
