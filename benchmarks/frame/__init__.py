"""What all questions share: measures, answers as JSON, the page and the plots made from them."""
