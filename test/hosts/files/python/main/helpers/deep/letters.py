def capital(word):
    return word[:1].upper() + word[1:]
